# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/common.sh %D%/quickstart %D%/test %D%/test-gpu
