// A model without files is the one that its files would hold, and runs like any other.
#include "engine/model_source.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "precis/inspect.h"

#include "base/rng.h"
#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"
#include "model/one_sequence_test_util.h"

namespace precis {
namespace {

const std::filesystem::path kMini = PRECIS_MODELS "/mini";
constexpr std::int64_t kTokens = 300;  // past the window; more rows than are selected

std::vector<TokenId> prompt() {
  std::vector<TokenId> tokens;
  for (std::uint64_t i = 0; i < kTokens; ++i) {
    tokens.push_back(static_cast<TokenId>(random_bits(3, i) % 4096));
  }
  return tokens;
}

SyntheticModel small(std::uint64_t seed = 1) {
  return {.shape = "mini", .n_layers = 4, .n_experts = 4, .seed = seed};
}

struct Answer {
  std::uint64_t fingerprint = 0;
  std::vector<float> logits;
};

Answer answer_of(const EngineOptions& options) {
  const auto engine = Engine::open(options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  const auto session = (*engine)->new_session();
  EXPECT_TRUE((*session)->sync(prompt()).ok());
  const std::span<const float> logits = (*session)->logits();
  return {(*engine)->info().fingerprint, {logits.begin(), logits.end()}};
}

TEST(SyntheticModel, InMemoryIsTheOneOnDisk) {
  const TemporaryDir dir;
  const auto written = write_synthetic(small(), kMini, dir.path() / "model");
  ASSERT_TRUE(written.ok()) << written.error().message;
  EXPECT_EQ(written->name, "mini, 4 of 5 layers, 4 of 16 experts");
  const auto report = inspect_checkpoint(dir.path() / "model", 1000);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->complete());
  EXPECT_TRUE(report->unexpected.empty());
  EXPECT_EQ(report->n_tensors, written->n_tensors);
  EXPECT_EQ(report->n_bytes, written->n_bytes);
  EXPECT_EQ(report->n_parameters, written->n_parameters);

  const Answer on_disk = answer_of({.model = dir.path() / "model", .max_tokens = 1000});
  const Answer in_memory = answer_of({.model = kMini, .max_tokens = 1000, .synthetic = small()});
  const Answer reseeded = answer_of({.model = kMini, .max_tokens = 1000, .synthetic = small(2)});
  EXPECT_EQ(on_disk.fingerprint, in_memory.fingerprint);
  EXPECT_EQ(on_disk.logits, in_memory.logits);
  EXPECT_NE(reseeded.fingerprint, in_memory.fingerprint);
  EXPECT_NE(reseeded.logits, in_memory.logits);
}

std::unique_ptr<OneSequence> load(const EngineOptions& options) {
  ThreadPool threads(2);
  const ModelConfig config = std::move(model_config(options)).value();
  const auto source = std::move(open_tensors(options, config, threads)).value();
  return std::make_unique<OneSequence>(config, *source, options.backend, Rounding::kNone, kTokens,
                                       kTokens);
}

TEST(SyntheticModel, CpuSelectsWhatRefSelectsAndNumbersStaySensible) {
  EngineOptions options{.model = kMini, .synthetic = small()};
  options.backend = "ref";
  const auto ref = load(options);
  options.backend = "cpu";
  const auto cpu = load(options);
  const std::vector<TokenId> tokens = prompt();
  std::array<std::vector<std::int32_t>, 2> selected;
  const auto observer = [](std::vector<std::int32_t>& into) {
    return StepObserver{.on_selection = [&into](const SelectionView& view) {
      for (std::int64_t t = 0; t < view.rows.rows; ++t) {
        const auto row = view.rows.row_span(t);
        into.insert(into.end(), row.begin(), row.end());
      }
    }};
  };
  for (OneSequence* side : {ref.get(), cpu.get()}) {
    side->cache.reserve(kTokens);
    const std::array<SequenceStep, 1> step{{{&side->cache, tokens}}};
    side->model.begin_step(step);
    side->model.embed();
  }
  for (int layer = 0; layer < ref->model.config().n_layers(); ++layer) {
    ref->model.run_layer(layer, observer(selected[0]));
    cpu->model.run_layer(layer, observer(selected[1]));
    const Cube<float> streams = ref->model.streams();
    const std::int64_t n = kTokens * streams.planes * streams.cols;
    double sum_of_squares = 0;
    for (std::int64_t i = 0; i < n; ++i) sum_of_squares += std::pow(streams.data[i], 2);
    const double rms = std::sqrt(sum_of_squares / static_cast<double>(n));
    EXPECT_GT(rms, 0.1) << "layer " << layer;
    EXPECT_LT(rms, 100) << "layer " << layer;
    // Each layer starts from the same bits: a selection answers for itself alone.
    std::copy_n(streams.data, n, cpu->model.streams().data);
  }
  ASSERT_FALSE(selected[0].empty());
  EXPECT_EQ(selected[0], selected[1]);
}

TEST(SyntheticModel, WhatAShapeLacksIsRefused) {
  const auto refused = [](const SyntheticModel& synthetic, ErrorCode code,
                          const std::vector<std::string>& parts) {
    expect_error(summarise_synthetic(synthetic, kMini), code, parts);
  };
  refused({.shape = "flush"}, ErrorCode::kInvalidArgument, {"flash, pro or mini", "flush"});
  refused({.shape = "v3.2"}, ErrorCode::kUnsupported, {"v3.2", "precis plan v3.2"});
  refused({.shape = "flash", .n_layers = 44}, ErrorCode::kInvalidArgument, {"layers", "1 … 43"});
  refused({.shape = "flash", .n_layers = -1}, ErrorCode::kInvalidArgument, {"layers", "-1"});
  refused({.shape = "flash", .n_experts = 5}, ErrorCode::kInvalidArgument, {"experts", "6 … 256"});
  refused({.shape = "pro", .n_experts = 385}, ErrorCode::kInvalidArgument, {"experts", "385"});
}

TEST(SyntheticModel, FullShapesHaveThePublishedBytes) {
  const auto flash = summarise_synthetic({.shape = "flash", .draft_block = true}, kMini);
  ASSERT_TRUE(flash.ok()) << flash.error().message;
  EXPECT_EQ(flash->n_tensors, 69'187);
  EXPECT_EQ(flash->n_bytes, 159'609'485'896);
  const auto pro = summarise_synthetic({.shape = "pro"}, kMini);
  ASSERT_TRUE(pro.ok()) << pro.error().message;
  EXPECT_EQ(pro->n_tensors, 142'773);
  EXPECT_EQ(pro->n_bytes, 850'748'205'004);
}

TEST(ExpertsOnHost, NeedABackendWithMemoryOfItsOwn) {
  EngineOptions options{.model = kMini, .backend = "cpu"};
  options.n_host_experts = 2;
  expect_error(Engine::open(options), ErrorCode::kInvalidArgument, {"cuda", "found cpu"});
  options.n_host_experts = 17;
  expect_error(Engine::open(options), ErrorCode::kInvalidArgument, {"0 … 16", "17"});
}

}  // namespace
}  // namespace precis
