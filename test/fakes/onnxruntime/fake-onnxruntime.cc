// A library that speaks as much of ONNX Runtime's C API as src/detect/ort-api.ts uses, with a provider "TensorRT" and a provider "CUDA"
// that do as a script says. The places of the functions come from the compiler's command line (IDX_...), which the test fills from
// its own list; an unused place is null, so a call of it crashes.
//
// The network that it "runs" adds nothing: it reads the answer of the golden frame from the file that FAKE_ORT_ANSWER names
// (float32: heat, then logsig), whatever the input.
//
// Script: lines NAME=value of the file that the environment variable FAKE_ORT_SCRIPT names, read at each call, so that a test may change
// them (the environment itself must not be changed while another thread reads it):
//   FAKE_ORT_LOG            file that every append, option and session is written to, a line each
//   FAKE_ORT_APPEND_FAILS   message with which appending a GPU provider fails
//   FAKE_ORT_SESSION_FAILS  message with which a session on a GPU fails
//   FAKE_ORT_RUN_FAILS      message with which a run on a GPU fails, from the FAKE_ORT_RUN_FAILS_AT'th on (default 0)
//   FAKE_ORT_CRASH          "session" or "run": the process is killed by SIGSEGV there, on a GPU
//   FAKE_ORT_BUILD_MS       time that a session takes to open where there is no engine in the cache
//   FAKE_ORT_WRONG          added to every cell of the heat on a GPU
//   FAKE_ORT_REFUSES_ENGINE message with which a session fails where there is an engine in the cache
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include <sys/stat.h>
#include <unistd.h>

#ifndef FAKE_VERSION
#define FAKE_VERSION "1.23.0"
#endif
#ifndef FAKE_API
#define FAKE_API 23
#endif

namespace {

struct Status { int code; std::string message; };
struct Options { std::string provider; std::map<std::string, std::string> provider_options; std::map<std::string, std::string> config; };
struct Session { std::string provider; int runs = 0; std::vector<int64_t> input_shape; };
struct Value { float* data; size_t bytes; std::vector<int64_t> shape; };
struct TypeInfo { std::vector<int64_t> shape; };
struct ProviderOptions { std::map<std::string, std::string> options; };

std::mutex log_mutex;

std::string env(const char* name) {
  static const char* file = std::getenv("FAKE_ORT_SCRIPT");
  if (!file) return "";
  const std::string start = std::string(name) + "=";
  std::ifstream script(file);
  for (std::string line; std::getline(script, line);)
    if (line.compare(0, start.size(), start) == 0) return line.substr(start.size());
  return "";
}

void note(const std::string& line) {
  const std::string file = env("FAKE_ORT_LOG");
  if (file.empty()) return;
  std::lock_guard<std::mutex> guard(log_mutex);
  std::ofstream(file, std::ios::app) << line << "\n";
}

Status* fail(int code, const std::string& message) { return new Status{code, message}; }

// --- the functions, in the order of src/detect/ort-api.ts

int GetErrorCode(const Status* s) { return s->code; }
const char* GetErrorMessage(const Status* s) { return s->message.c_str(); }
void ReleaseStatus(Status* s) { delete s; }
Status* CreateEnv(int, const char*, void** out) { *out = new int(0); return nullptr; }
Status* CreateSessionOptions(Options** out) { *out = new Options(); return nullptr; }
Status* SetInt(Options*, int) { return nullptr; }
Status* AddSessionConfigEntry(Options* o, const char* k, const char* v) { o->config[k] = v; return nullptr; }
void ReleaseSessionOptions(Options* o) { delete o; }

Status* CreateProviderOptions(ProviderOptions** out) { *out = new ProviderOptions(); return nullptr; }
Status* UpdateProviderOptions(ProviderOptions* o, const char* const* keys, const char* const* values, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (std::strcmp(keys[i], "no_such_option") == 0) return fail(2, "Unknown provider option: \"no_such_option\".");
    o->options[keys[i]] = values[i];
  }
  return nullptr;
}
void ReleaseProviderOptions(ProviderOptions* o) { delete o; }

Status* append(Options* o, const ProviderOptions* p, const char* name) {
  note(std::string("append ") + name);
  for (const auto& [k, v] : p->options) note("option " + k + "=" + v);
  if (const auto why = env("FAKE_ORT_APPEND_FAILS"); !why.empty()) return fail(1, why);
  o->provider = name;
  o->provider_options = p->options;
  return nullptr;
}
Status* AppendTensorRT(Options* o, const ProviderOptions* p) { return append(o, p, "tensorrt"); }
Status* AppendCuda(Options* o, const ProviderOptions* p) { return append(o, p, "cuda"); }

// The size that the test's models are made for.
int64_t number(const char* name, int64_t otherwise) {
  const auto text = env(name);
  return text.empty() ? otherwise : std::stoll(text);
}
std::vector<int64_t> image_shape() { return {1, 1, number("FAKE_ORT_HEIGHT", 120), number("FAKE_ORT_WIDTH", 160)}; }
std::vector<int64_t> cell_shape() { auto s = image_shape(); s[2] /= 2; s[3] /= 2; return s; }

Status* CreateSessionFromArray(void*, const void* model, size_t bytes, const Options* o, Session** out) {
  const bool gpu = !o->provider.empty();
  const std::string text(static_cast<const char*>(model), bytes);
  const bool context = text.find("EPContext") != std::string::npos;
  note("session " + (gpu ? o->provider : std::string("cpu")) + (context ? " context" : " model"));
  for (const auto& [k, v] : o->config) note("config " + k + "=" + v);
  if (context && !gpu) return fail(9, "EPContext node generated by 'TensorrtExecutionProvider' is not compatible with any execution provider");
  if (gpu) {
    if (const auto why = env("FAKE_ORT_SESSION_FAILS"); !why.empty()) return fail(11, why);
    if (env("FAKE_ORT_CRASH") == "session") std::raise(SIGSEGV);
  }
  const auto cache = o->provider_options.find("trt_engine_cache_path");
  if (gpu && cache != o->provider_options.end()) {
    const std::string engine = cache->second + "/fake_sm87.engine";
    std::ifstream found(engine);
    if (found.good()) {
      note("engine loaded");
      if (const auto why = env("FAKE_ORT_REFUSES_ENGINE"); !why.empty()) return fail(11, why);
    } else {
      const int ms = static_cast<int>(number("FAKE_ORT_BUILD_MS", 0));
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      std::ofstream(engine) << "engine of " << bytes << " bytes";
      const auto timings = o->provider_options.find("trt_timing_cache_path");
      if (timings != o->provider_options.end()) {
        std::ifstream old(timings->second + "/fake_sm87.timing");
        note(old.good() ? "timings found" : "timings new");
        std::ofstream(timings->second + "/fake_sm87.timing") << "timings";
      }
      note("engine built");
    }
  }
  *out = new Session{gpu ? o->provider : "cpu", 0, image_shape()};
  return nullptr;
}
void ReleaseSession(Session* s) { note("release " + s->provider); delete s; }

Status* GetInputCount(const Session*, size_t* out) { *out = 1; return nullptr; }
Status* GetOutputCount(const Session*, size_t* out) { *out = 2; return nullptr; }
Status* GetInputTypeInfo(const Session*, size_t, TypeInfo** out) { *out = new TypeInfo{image_shape()}; return nullptr; }
Status* GetOutputTypeInfo(const Session*, size_t, TypeInfo** out) { *out = new TypeInfo{cell_shape()}; return nullptr; }
Status* GetInputName(const Session*, size_t, void*, char** out) { *out = strdup("image"); return nullptr; }
Status* GetOutputName(const Session*, size_t i, void*, char** out) { *out = strdup(i == 0 ? "heat" : "logsig"); return nullptr; }
Status* AllocatorFree(void*, void* p) { std::free(p); return nullptr; }
Status* GetAllocator(void** out) { static int allocator; *out = &allocator; return nullptr; }
Status* CastTypeInfo(TypeInfo* t, TypeInfo** out) { *out = t; return nullptr; }
Status* GetElementType(const TypeInfo*, int* out) { *out = 1; return nullptr; }
Status* GetDimensionsCount(const TypeInfo* t, size_t* out) { *out = t->shape.size(); return nullptr; }
Status* GetDimensions(const TypeInfo* t, int64_t* out, size_t n) { std::memcpy(out, t->shape.data(), n * sizeof *out); return nullptr; }
void ReleaseTypeInfo(TypeInfo* t) { delete t; }

Status* CreateCpuMemoryInfo(int, int, void** out) { *out = new int(0); return nullptr; }
void ReleaseMemoryInfo(void* m) { delete static_cast<int*>(m); }
Status* CreateTensor(void*, void* data, size_t bytes, const int64_t* shape, size_t rank, int type, Value** out) {
  std::vector<int64_t> dims(shape, shape + rank);
  size_t need = sizeof(float);
  for (auto d : dims) need *= static_cast<size_t>(d);
  if (type != 1 || need > bytes) return fail(2, "not enough space");
  *out = new Value{static_cast<float*>(data), bytes, dims};
  return nullptr;
}
void ReleaseValue(Value* v) { delete v; }

Status* Run(Session* s, void*, const char* const* in, const Value* const*, size_t n_in, const char* const* out, size_t n_out, Value** values) {
  if (n_in != 1 || n_out != 2 || std::strcmp(in[0], "image") || std::strcmp(out[0], "heat") || std::strcmp(out[1], "logsig"))
    return fail(2, "wrong names");
  const int run = s->runs++;
  const bool gpu = s->provider != "cpu";
  if (gpu) {
    if (env("FAKE_ORT_CRASH") == "run") std::raise(SIGSEGV);
    if (const auto why = env("FAKE_ORT_RUN_FAILS"); !why.empty() && run >= number("FAKE_ORT_RUN_FAILS_AT", 0)) return fail(1, why);
  }
  std::ifstream answer(env("FAKE_ORT_ANSWER"), std::ios::binary);
  for (size_t i = 0; i < 2; i++) answer.read(reinterpret_cast<char*>(values[i]->data), static_cast<std::streamsize>(values[i]->bytes));
  if (!answer.good()) return fail(1, "FAKE_ORT_ANSWER is too short");
  if (const auto wrong = env("FAKE_ORT_WRONG"); gpu && !wrong.empty())
    for (size_t i = 0; i < values[0]->bytes / sizeof(float); i++) values[0]->data[i] += std::stof(wrong);
  return nullptr;
}

void* table[400];

void fill() {
#define PUT(name, function) table[IDX_##name] = reinterpret_cast<void*>(function)
  PUT(GetErrorCode, GetErrorCode); PUT(GetErrorMessage, GetErrorMessage); PUT(CreateEnv, CreateEnv);
  PUT(CreateSessionFromArray, CreateSessionFromArray); PUT(Run, Run); PUT(CreateSessionOptions, CreateSessionOptions);
  PUT(SetSessionLogSeverityLevel, SetInt); PUT(SetSessionGraphOptimizationLevel, SetInt);
  PUT(SetIntraOpNumThreads, SetInt); PUT(SetInterOpNumThreads, SetInt);
  PUT(SessionGetInputCount, GetInputCount); PUT(SessionGetOutputCount, GetOutputCount);
  PUT(SessionGetInputTypeInfo, GetInputTypeInfo); PUT(SessionGetOutputTypeInfo, GetOutputTypeInfo);
  PUT(SessionGetInputName, GetInputName); PUT(SessionGetOutputName, GetOutputName);
  PUT(CreateTensorWithDataAsOrtValue, CreateTensor); PUT(CastTypeInfoToTensorInfo, CastTypeInfo);
  PUT(GetTensorElementType, GetElementType); PUT(GetDimensionsCount, GetDimensionsCount); PUT(GetDimensions, GetDimensions);
  PUT(CreateCpuMemoryInfo, CreateCpuMemoryInfo); PUT(AllocatorFree, AllocatorFree);
  PUT(GetAllocatorWithDefaultOptions, GetAllocator); PUT(ReleaseStatus, ReleaseStatus);
  PUT(ReleaseMemoryInfo, ReleaseMemoryInfo); PUT(ReleaseSession, ReleaseSession); PUT(ReleaseValue, ReleaseValue);
  PUT(ReleaseTypeInfo, ReleaseTypeInfo); PUT(ReleaseSessionOptions, ReleaseSessionOptions);
  PUT(AddSessionConfigEntry, AddSessionConfigEntry);
  PUT(SessionOptionsAppendExecutionProvider_TensorRT_V2, AppendTensorRT);
  PUT(CreateTensorRTProviderOptions, CreateProviderOptions); PUT(UpdateTensorRTProviderOptions, UpdateProviderOptions);
  PUT(ReleaseTensorRTProviderOptions, ReleaseProviderOptions);
  PUT(SessionOptionsAppendExecutionProvider_CUDA_V2, AppendCuda);
  PUT(CreateCUDAProviderOptions, CreateProviderOptions); PUT(UpdateCUDAProviderOptions, UpdateProviderOptions);
  PUT(ReleaseCUDAProviderOptions, ReleaseProviderOptions);
}

struct Base { const void* (*GetApi)(uint32_t); const char* (*GetVersionString)(); };

const void* GetApi(uint32_t version) {
  note("api " + std::to_string(version));
  return version <= FAKE_API ? table : nullptr;
}
const char* GetVersionString() { return FAKE_VERSION; }
const Base base{GetApi, GetVersionString};

}  // namespace

extern "C" const Base* OrtGetApiBase() {
  fill();
  return &base;
}
