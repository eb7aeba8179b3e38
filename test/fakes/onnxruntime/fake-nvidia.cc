// TensorRT, CUDA run time and driver of an Orin with JetPack 6.2, as far as src/detect/platform.ts asks them.
extern "C" {
int getInferLibVersion() { return 100300; }
int cudaRuntimeGetVersion(int* version) { *version = 12060; return 0; }
int cuInit(unsigned) { return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  if (attribute != 75 && attribute != 76) return 1;
  *value = attribute == 75 ? 8 : 7;
  return 0;
}
}
