// The determinism contract: rows, selections and logits are the same bits for every cut of the
// tokens into steps, every thread count, and whatever else shares a step.
#include <cmath>
#include <cstdio>

#include <gtest/gtest.h>

#include "model/support.h"

namespace precis {
namespace {

struct Case {
  const char* name;
  const char* dir;
  Rounding rounding;
};

const std::vector<Case> kCases = {
    {"flash_bf16, release", PRECIS_TEST_DATA "/golden/flash_bf16", Rounding::kBf16},
    {"flash_bf16, f32", PRECIS_TEST_DATA "/golden/flash_bf16", Rounding::kNone},
    {"flash_fp8, release", PRECIS_TEST_DATA "/golden/flash_fp8", Rounding::kBf16},
    {"flash_fp8, f32", PRECIS_TEST_DATA "/golden/flash_fp8", Rounding::kNone},
    {"pro_fp8, release", PRECIS_TEST_DATA "/golden/pro_fp8", Rounding::kBf16},
    {"pro_fp8, f32", PRECIS_TEST_DATA "/golden/pro_fp8", Rounding::kNone},
    {"mini, release", PRECIS_MODELS "/mini", Rounding::kBf16},
    {"mini, f32", PRECIS_MODELS "/mini", Rounding::kNone},
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.name;
  std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return name;
}

void print_hash(const char* name, const TestModel& model, const Trace& trace) {
  std::printf("%s, %s: logits %016lx\n", name, model.isa().c_str(),
              static_cast<unsigned long>(trace.logits_hash()));
}

class Determinism : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<TestModel> open(int n_threads, const std::string& isa = "") const {
    return TestModel::open(GetParam().dir,
                           {.isa = isa, .rounding = GetParam().rounding, .n_threads = n_threads});
  }
  static std::vector<std::int32_t> ids(const TestModel& model, std::int64_t n, std::uint64_t seed) {
    return random_ids(n, model.config().vocab_size, seed);
  }
};

constexpr std::int64_t kTokens = 610;  // past four pages, and no multiple of a ratio

TEST_P(Determinism, SameBitsForEveryChunkAndThreadCount) {
  const auto one_thread = open(1);
  const auto two_threads = open(2);
  ASSERT_TRUE(one_thread && two_threads);
  const auto tokens = ids(*one_thread, kTokens, 1);
  const Trace want = one_thread->run(tokens, kTokens);
  ASSERT_EQ(want.pages.size(), 5u);
  ASSERT_EQ(want.selections.size(),
            static_cast<std::size_t>(one_thread->config().n_layers_of(LayerKind::kSparse)));
  print_hash(GetParam().name, *one_thread, want);
  ASSERT_TRUE(std::ranges::all_of(want.logits, [](float x) { return std::isfinite(x); }));
  for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{3}, std::int64_t{64},
                                   std::int64_t{128}, std::int64_t{500}, kTokens}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    {
      SCOPED_TRACE("1 thread");
      expect_same(one_thread->run(tokens, chunk), want);
    }
    SCOPED_TRACE("2 threads");
    expect_same(two_threads->run(tokens, chunk), want);
  }
}

TEST_P(Determinism, SequencesOfOneStepDoNotTouchEachOther) {
  const auto model = open(2);
  ASSERT_TRUE(model);
  const std::array<std::vector<std::int32_t>, 3> tokens{ids(*model, 333, 2), ids(*model, 5, 3),
                                                        ids(*model, 190, 4)};
  const std::array<Trace, 3> alone{model->run(tokens[0], 333), model->run(tokens[1], 5),
                                   model->run(tokens[2], 190)};
  for (const std::array<std::int64_t, 3>& chunks :
       {std::array<std::int64_t, 3>{333, 5, 190}, {64, 1, 7}, {130, 3, 129}}) {
    const std::array<Cut, 3> cuts{
        {{tokens[0], chunks[0]}, {tokens[1], chunks[1]}, {tokens[2], chunks[2]}}};
    const std::vector<Trace> together = model->run(cuts);
    for (std::size_t s = 0; s < 3; ++s) {
      SCOPED_TRACE("sequence " + std::to_string(s) + " in steps of " + std::to_string(chunks[s]));
      expect_same(together[s], alone[s]);
    }
    const std::vector<Trace> pair = model->run(std::span(cuts).first(2));
    expect_same(pair[0], alone[0]);
    expect_same(pair[1], alone[1]);
  }
}

TEST_P(Determinism, EveryInstructionSetKeepsItsBits) {
  std::map<std::string, Trace> by_isa;
  for (const std::string isa : {"avx512", "avx2", "baseline"}) {
    SCOPED_TRACE(isa);
    const auto model = open(2, isa);
    if (model == nullptr) continue;
    const auto tokens = ids(*model, 300, 5);
    by_isa[isa] = model->run(tokens, 300);
    print_hash(GetParam().name, *model, by_isa[isa]);
    for (const std::int64_t chunk : {1, 64, 129}) {
      SCOPED_TRACE("chunk " + std::to_string(chunk));
      expect_same(model->run(tokens, chunk), by_isa[isa]);
    }
    SCOPED_TRACE("1 thread");
    expect_same(open(1, isa)->run(tokens, 64), by_isa[isa]);
  }
  ASSERT_FALSE(by_isa.empty());
  if (by_isa.contains("avx512") && by_isa.contains("avx2")) {
    expect_same(by_isa["avx512"], by_isa["avx2"]);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Determinism, testing::ValuesIn(kCases), name_of);

// The two backends add in different orders, so their logits may differ by roundings only.
TEST(Backends, CpuIsCloseToRefOnTheBundledModel) {
  const auto cpu = TestModel::open(PRECIS_MODELS "/mini", {.backend = "cpu"});
  const auto ref = TestModel::open(PRECIS_MODELS "/mini", {.backend = "ref"});
  ASSERT_TRUE(cpu && ref);
  const auto tokens = random_ids(48, cpu->config().vocab_size, 6);
  const Trace got = cpu->run(tokens, 48);
  const Trace want = ref->run(tokens, 48);
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < want.logits.size(); ++i) {
    difference += std::pow(double{got.logits[i]} - want.logits[i], 2);
    norm += std::pow(double{want.logits[i]}, 2);
  }
  // A flipped FP8 rounding moves an activation by a sixteenth or more, and far fewer than all flip:
  // 2.5 % with the bundled weights.
  EXPECT_LT(std::sqrt(difference / norm), 1.0 / 16);
  EXPECT_GT(norm, 0);
}

}  // namespace
}  // namespace precis
