/* The part of the C library that the bindings use; sdk/libc.c has it. */
#pragma once
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *one, const void *other, size_t len);
size_t strlen(const char *text);
