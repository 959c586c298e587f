# SPDX-License-Identifier: Apache-2.0

unit_tests += tests/model/test_layers
tests_model_test_layers_SOURCES = %D%/test_layers.c
tests_model_test_layers_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/model/test_model
tests_model_test_model_SOURCES = %D%/test_model.c
tests_model_test_model_LDADD = $(INTERPRET_LIBS)
EXTRA_DIST += %D%/torchvision.txt tests/reference/torchvision_names.py
