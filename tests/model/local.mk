# SPDX-License-Identifier: Apache-2.0

unit_tests += tests/model/test_language
tests_model_test_language_SOURCES = %D%/test_language.c %D%/models.h
tests_model_test_language_LDADD = $(INTERPRET_LIBS)
EXTRA_DIST += %D%/transformers.txt tests/reference/language.py \
	tests/reference/gpt/config.json tests/reference/gpt/losses-bf16.txt tests/reference/gpt/losses.txt tests/reference/gpt/model.safetensors \
	tests/reference/gpt/tokens.bin tests/reference/gpt/gradients/model.safetensors \
	tests/reference/llama/config.json tests/reference/llama/losses-bf16.txt tests/reference/llama/losses.txt tests/reference/llama/model.safetensors \
	tests/reference/llama/tokens.bin tests/reference/llama/gradients/model.safetensors

unit_tests += tests/model/test_layers
tests_model_test_layers_SOURCES = %D%/test_layers.c
tests_model_test_layers_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/model/test_model
tests_model_test_model_SOURCES = %D%/test_model.c %D%/models.h
tests_model_test_model_LDADD = $(INTERPRET_LIBS)
EXTRA_DIST += %D%/torchvision.txt tests/reference/torchvision_names.py
