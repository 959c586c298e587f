# SPDX-License-Identifier: Apache-2.0
dist_man_MANS += %D%/dpt-info.1 %D%/dpt-ckpt.5
