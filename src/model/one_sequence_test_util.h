// A model on one backend with one sequence, for tests that run it layer by layer or step by step.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "backend/registry.h"
#include "base/threads.h"
#include "checkpoint/tensor_source.h"
#include "kv/kv_cache.h"
#include "kv/page_pool.h"
#include "model/config.h"
#include "model/model.h"
#include "model/weights.h"

namespace precis {

struct OneSequence {
  OneSequence(const ModelConfig& config, const TensorSource& source,
              const std::string& backend_name, Rounding rounding, int max_step_tokens,
              std::int64_t max_tokens)
      : backend(std::move(make_backend(backend_name, threads)).value()),
        model(config, std::move(load_tensors(config, source, *backend)).value(), *backend, rounding,
              max_step_tokens),
        step_rows(*backend, model.kv_spec(), max_step_tokens),
        pages(*backend, make_kv_layout(model.kv_spec()).page_bytes),
        cache(*backend, model.kv_spec(), pages, step_rows, max_tokens) {}

  ThreadPool threads{2};
  std::unique_ptr<Backend> backend;
  Model model;
  StepRows step_rows;
  PagePool pages;
  KvCache cache;
};

}  // namespace precis
