# SPDX-License-Identifier: Apache-2.0
# Whole jobs on several ranks.
TESTS += %D%/alone.sh %D%/async.sh %D%/bf16.sh %D%/death.sh %D%/device.sh %D%/evaluate.sh %D%/fp16.sh %D%/language.sh %D%/layouts.sh %D%/local.sh %D%/output.sh %D%/parity.sh %D%/reproducible.sh %D%/resume.sh %D%/stop.sh %D%/wire.sh
EXTRA_DIST += %D%/alone.sh %D%/async.sh %D%/bf16.sh %D%/common.sh %D%/death.sh %D%/device.sh %D%/evaluate.sh %D%/fp16.sh %D%/language.sh %D%/layouts.sh %D%/local.sh %D%/output.sh %D%/parity.sh %D%/reference.sh %D%/reproducible.sh %D%/resume.sh %D%/stop.sh %D%/wire.sh
