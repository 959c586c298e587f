# SPDX-License-Identifier: Apache-2.0
TESTS += %D%/rooms.sh %D%/source-jobs.sh %D%/source-style.sh
EXTRA_DIST += %D%/rooms.sh %D%/source-jobs.sh %D%/source-style.sh
TESTS += %D%/help.sh
EXTRA_DIST += %D%/common.sh %D%/help.sh
TESTS += %D%/man-job.sh %D%/man-lint.sh %D%/man-train.sh
EXTRA_DIST += %D%/man-job.sh %D%/man-lint.sh %D%/man-train.sh
TESTS += %D%/data-run.sh %D%/data-usage.sh
EXTRA_DIST += %D%/data-run.sh %D%/data-usage.sh
TESTS += %D%/info-summary.sh %D%/info-usage.sh %D%/info-verify.sh
EXTRA_DIST += %D%/info-summary.sh %D%/info-usage.sh %D%/info-verify.sh
TESTS += %D%/predict-run.sh %D%/predict-usage.sh
EXTRA_DIST += %D%/predict-run.sh %D%/predict-usage.sh
TESTS += %D%/generate-run.sh %D%/generate-usage.sh
EXTRA_DIST += %D%/generate-run.sh %D%/generate-usage.sh
