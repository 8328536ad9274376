// llama.cpp from opening a file to the first token of a short prompt: what `isobit bench` calls
// load_to_first_token_seconds, for the other side. Built by compare_llama.py against llama.cpp.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llama.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const auto start = std::chrono::steady_clock::now();
  llama_model_params of_model = llama_model_default_params();
  of_model.n_gpu_layers = 0;
  llama_model* model = llama_model_load_from_file(argv[1], of_model);
  if (model == nullptr) return 1;
  const char* text = "The quick brown fox jumps over the lazy dog, and then it sleeps.";
  std::vector<llama_token> ids(64);
  const int count = llama_tokenize(llama_model_get_vocab(model), text, int(std::strlen(text)),
                                   ids.data(), int(ids.size()), true, false);
  if (count <= 0) return 1;
  ids.resize(count < 16 ? std::size_t(count) : 16);
  llama_context_params of_context = llama_context_default_params();
  of_context.n_ctx = 512;
  of_context.n_threads = of_context.n_threads_batch = std::atoi(argv[2]);
  llama_context* context = llama_init_from_model(model, of_context);
  if (context == nullptr) return 1;
  if (llama_decode(context, llama_batch_get_one(ids.data(), int(ids.size()))) != 0) return 1;
  const float* logits = llama_get_logits_ith(context, -1);
  int best = 0;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  for (int i = 1; i < vocabulary; ++i) best = logits[i] > logits[best] ? i : best;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%.6f %d\n", took.count(), best);
  return 0;
}
