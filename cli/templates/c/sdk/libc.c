/* Memory and strings for a plugin, which has no system below it.
 *
 * Blocks have sizes of powers of two and go back to a list of their size, so that nothing is ever searched and memory
 * does not fragment; a block may have up to twice the size that was asked for. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The size's exponent stands before each block, and keeps it aligned. */
#define HEAD 16
#define SMALLEST 5
#define LARGEST 31
#define PAGE 65536u

typedef struct block {
  struct block *next;
} block;

extern unsigned char __heap_base;

static block *spare[LARGEST + 1];
static uintptr_t top;

/* The bindings ask for an object with the description of the world; `meshctl plugin build` adds it by itself. */
void __component_type_object_force_link_plugin(void) {}

_Noreturn void abort(void) { __builtin_trap(); }

static int exponent(size_t size) {
  int bits = SMALLEST;
  while (bits <= LARGEST && ((size_t)1 << bits) - HEAD < size) bits++;
  return bits;
}

static unsigned char *fresh(size_t size) {
  if (!top) top = ((uintptr_t)&__heap_base + HEAD - 1) & ~(uintptr_t)(HEAD - 1);
  uintptr_t end = top + size;
  size_t have = __builtin_wasm_memory_size(0);
  size_t need = (end + PAGE - 1) / PAGE;
  if (end < top || (need > have && __builtin_wasm_memory_grow(0, need - have) == SIZE_MAX)) return NULL;
  unsigned char *block = (unsigned char *)top;
  top = end;
  return block;
}

void *malloc(size_t size) {
  int bits = exponent(size);
  if (bits > LARGEST) return NULL;
  if (spare[bits]) {
    block *taken = spare[bits];
    spare[bits] = taken->next;
    return taken;
  }
  unsigned char *head = fresh((size_t)1 << bits);
  if (!head) return NULL;
  *(int *)head = bits;
  return head + HEAD;
}

void free(void *memory) {
  if (!memory) return;
  int bits = *(int *)((unsigned char *)memory - HEAD);
  block *freed = memory;
  freed->next = spare[bits];
  spare[bits] = freed;
}

void *realloc(void *old, size_t size) {
  if (!old) return malloc(size);
  size_t room = ((size_t)1 << *(int *)((unsigned char *)old - HEAD)) - HEAD;
  if (size <= room) return old;
  void *new = malloc(size);
  if (!new) return NULL;
  memcpy(new, old, room);
  free(old);
  return new;
}

/* The compiler makes single instructions of the first two, with -mbulk-memory. */
void *memmove(void *to, const void *from, size_t len) { return __builtin_memmove(to, from, len); }
void *memset(void *to, int byte, size_t len) { return __builtin_memset(to, byte, len); }
void *memcpy(void *restrict to, const void *restrict from, size_t len) { return __builtin_memcpy(to, from, len); }

int memcmp(const void *one, const void *other, size_t len) {
  const unsigned char *a = one, *b = other;
  for (size_t at = 0; at < len; at++)
    if (a[at] != b[at]) return a[at] < b[at] ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  size_t len = 0;
  while (text[len]) len++;
  return len;
}
