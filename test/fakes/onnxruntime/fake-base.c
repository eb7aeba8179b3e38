// The entry of an ONNX Runtime of FAKE_VERSION with the versions of the C API up to FAKE_API. Who asks for a higher one is ended, as the
// real library would print a line on standard error. No function of the table may be called.
#include <stdint.h>
#include <stdlib.h>

static void forbidden(void) { abort(); }
static void* table[400];

static const void* get_api(uint32_t version) {
  // (Where all of them are too old, none is asked for either.)
  if (version > FAKE_API) abort();
  for (int i = 0; i < 400; i++) table[i] = (void*)forbidden;
  return version <= FAKE_API ? table : NULL;
}
static const char* get_version(void) { return FAKE_VERSION; }
static const struct {
  const void* (*get_api)(uint32_t);
  const char* (*get_version)(void);
} base = {get_api, get_version};

const void* OrtGetApiBase(void) { return &base; }
