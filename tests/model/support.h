// A model run over given tokens in given cuts, and everything that must not depend on the cuts.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/rng.h"
#include "base/threads.h"
#include "checkpoint/safetensors.h"
#include "kv/kv_cache.h"
#include "model/model.h"
#include "xxhash.h"

namespace precis {

inline std::vector<std::int32_t> random_ids(std::int64_t n, std::int64_t vocab_size,
                                            std::uint64_t seed) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<std::int32_t>(random_bits(seed, static_cast<std::uint64_t>(i)) %
                                            static_cast<std::uint64_t>(vocab_size)));
  }
  return ids;
}

/// What a sequence leaves behind, bit by bit.
struct Trace {
  std::vector<float> logits;                            // [n, V], every position
  std::map<int, std::vector<std::int32_t>> selections;  // per sparse layer [n, K]
  std::vector<std::byte> fixed;                         // rings, then states
  std::vector<std::vector<std::byte>> pages;

  std::uint64_t logits_hash() const {
    return XXH3_64bits(logits.data(), logits.size() * sizeof(float));
  }
};

/// Expects all parts of two traces to be the same bits; says which part is not.
inline void expect_same(const Trace& got, const Trace& want) {
  ASSERT_EQ(got.logits.size(), want.logits.size());
  EXPECT_EQ(got.logits_hash(), want.logits_hash()) << "logits differ";
  EXPECT_EQ(got.fixed, want.fixed) << "rings or states differ";
  ASSERT_EQ(got.pages.size(), want.pages.size());
  for (std::size_t i = 0; i < got.pages.size(); ++i) {
    EXPECT_TRUE(got.pages[i] == want.pages[i]) << "page " << i << " differs";
  }
  for (const auto& [layer, rows] : want.selections) {
    EXPECT_TRUE(got.selections.at(layer) == rows) << "selections of layer " << layer << " differ";
  }
}

/// One sequence of a run: its tokens and how many of them a step takes.
struct Cut {
  std::span<const std::int32_t> tokens;
  std::int64_t chunk = 0;
};

/// How a model is set up.
struct Setup {
  std::string backend = "cpu";
  std::string isa = {};  // forced where not empty
  Rounding rounding = Rounding::kNone;
  int n_threads = 1;
};

/// A checkpoint loaded on a backend.
class TestModel {
 public:
  static constexpr std::int64_t kMaxStepTokens = 1024;

  /// Null where this processor lacks the forced instruction set.
  static std::unique_ptr<TestModel> open(const std::filesystem::path& dir, const Setup& setup) {
    auto out = std::unique_ptr<TestModel>(new TestModel(setup.n_threads));
    if (!setup.isa.empty()) ::setenv("PRECIS_FORCE_ISA", setup.isa.c_str(), 1);
    auto backend = make_backend(setup.backend, out->threads_);
    if (!setup.isa.empty()) ::unsetenv("PRECIS_FORCE_ISA");
    if (!backend.ok()) return nullptr;
    out->backend_ = *std::move(backend);
    if (!setup.isa.empty()) {
      EXPECT_EQ(out->backend_->isa(), setup.isa);
    }
    auto config = load_config(dir);
    auto checkpoint = Checkpoint::open(dir);
    EXPECT_TRUE(config.ok() && checkpoint.ok());
    auto tensors = load_tensors(*config, *checkpoint, *out->backend_);
    EXPECT_TRUE(tensors.ok());
    out->model_ = std::make_unique<Model>(*std::move(config), *std::move(tensors), *out->backend_,
                                          setup.rounding, kMaxStepTokens);
    return out;
  }

  const ModelConfig& config() const { return model_->config(); }
  std::string isa() const { return backend_->isa(); }

  /// Runs sequences side by side, each in steps of its own size, from empty caches.
  std::vector<Trace> run(std::span<const Cut> cuts);

  Trace run(std::span<const std::int32_t> tokens, std::int64_t chunk) {
    const std::array<Cut, 1> cut{{{tokens, chunk}}};
    return std::move(run(cut).front());
  }

 private:
  explicit TestModel(int n_threads) : threads_(n_threads) {}

  void run_step(std::span<const SequenceStep> steps, std::span<Trace* const> traces);
  void take_content(const KvCache& cache, Trace& trace) const;

  ThreadPool threads_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

inline std::vector<Trace> TestModel::run(std::span<const Cut> cuts) {
  const KvSpec spec = model_->kv_spec();
  const StepRows step_rows(*backend_, spec, kMaxStepTokens);
  PagePool pool(*backend_, make_kv_layout(spec).page_bytes);
  std::vector<std::unique_ptr<KvCache>> caches;
  for (const Cut& cut : cuts) {
    caches.push_back(std::make_unique<KvCache>(*backend_, spec, pool, step_rows,
                                               static_cast<std::int64_t>(cut.tokens.size())));
  }
  std::vector<Trace> traces(cuts.size());
  while (true) {
    std::vector<SequenceStep> steps;
    std::vector<Trace*> step_traces;
    for (std::size_t s = 0; s < cuts.size(); ++s) {
      const std::int64_t left = caches[s]->max_tokens() - caches[s]->n_tokens();
      const std::int64_t n = std::min(left, cuts[s].chunk);
      if (n == 0) continue;
      caches[s]->reserve(n);
      steps.push_back(
          {caches[s].get(), cuts[s].tokens.subspan(static_cast<std::size_t>(caches[s]->n_tokens()),
                                                   static_cast<std::size_t>(n))});
      step_traces.push_back(&traces[s]);
    }
    if (steps.empty()) break;
    run_step(steps, step_traces);
  }
  for (std::size_t s = 0; s < cuts.size(); ++s) take_content(*caches[s], traces[s]);
  return traces;
}

inline void TestModel::run_step(std::span<const SequenceStep> steps,
                                std::span<Trace* const> traces) {
  StepObserver observer;
  observer.on_selection = [&](const SelectionView& view) {
    std::vector<std::int32_t>& out = traces[view.sequence]->selections[view.layer];
    const std::size_t at = out.size();
    out.resize(at + static_cast<std::size_t>(view.rows.rows * view.rows.cols));
    backend_->copy_out(std::as_writable_bytes(std::span(out).subspan(at)),
                       reinterpret_cast<const std::byte*>(view.rows.data));
  };
  model_->forward(steps, observer);
  std::int64_t begin = 0;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const auto n = static_cast<std::int64_t>(steps[s].tokens.size());
    for (std::int64_t i = 0; i < n; i += kMaxLogitRows) {
      const Mat<const float> rows = model_->logits(begin + i, std::min(kMaxLogitRows, n - i));
      std::vector<float>& out = traces[s]->logits;
      const std::size_t at = out.size();
      out.resize(at + static_cast<std::size_t>(rows.rows * rows.cols));
      backend_->copy_out(std::as_writable_bytes(std::span(out).subspan(at)),
                         reinterpret_cast<const std::byte*>(rows.data));
    }
    begin += n;
  }
}

inline void TestModel::take_content(const KvCache& cache, Trace& trace) const {
  trace.fixed.resize(static_cast<std::size_t>(cache.fixed_bytes()));
  cache.copy_out_fixed(trace.fixed);
  for (std::int64_t i = 0; i < cache.n_pages(); ++i) {
    trace.pages.emplace_back(static_cast<std::size_t>(cache.page_bytes()));
    cache.copy_out_pages(i, trace.pages.back());
  }
}

}  // namespace precis
