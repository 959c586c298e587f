# SPDX-License-Identifier: Apache-2.0
# Whole jobs on several ranks.
TESTS += %D%/parity.sh %D%/reproducible.sh %D%/resume.sh
EXTRA_DIST += %D%/common.sh %D%/parity.sh %D%/reproducible.sh %D%/resume.sh
