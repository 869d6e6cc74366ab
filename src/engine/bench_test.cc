// The benches' results as values: no test here judges a speed.
#include "precis/bench.h"

#include <algorithm>
#include <fstream>
#include <numeric>

#include <gtest/gtest.h>

#include "engine/bench_machine.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = PRECIS_MODELS "/mini";

Machine sample_machine() {
  Machine machine;
  machine.processor = "Sample 1";
  machine.n_processors = 2;
  machine.multiply_adds = {
      {"f32", "avx2", 1, 100}, {"int8", "avx2", 1, 300}, {"f32", "avx2", 2, 200}};
  machine.reads = {{1, 1000, 50}, {1, 10, 70}, {1, 100, 60}, {2, 100, 90}};
  return machine;
}

fs::path temporary(const char* name) {
  return fs::path(testing::TempDir()) / name;
}

TEST(Machine, SurvivesItsFile) {
  const fs::path path = temporary("machine_dir") / "machine.json";
  const Machine machine = sample_machine();
  ASSERT_TRUE(write_machine(machine, path).ok());
  const auto read = read_machine(path);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(machine_json(*read), machine_json(machine));
  EXPECT_EQ(read->multiply_adds.size(), 3U);
  EXPECT_EQ(read->reads[1].working_set_bytes, 10);
}

TEST(Machine, ADamagedFileIsRefusedByName) {
  const fs::path path = temporary("damaged_machine.json");
  for (const char* text : {"", "{\"processor\": 3}", "[1, 2"}) {
    std::ofstream(path) << text;
    const auto read = read_machine(path);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(read.error().message.find("damaged_machine.json"), std::string::npos);
  }
}

TEST(Peak, TakesTheSmallestWorkingSetThatHoldsTheBytes) {
  const Machine machine = sample_machine();
  EXPECT_EQ(peak_of(machine, "avx2", 1, 10).value().bytes_per_s, 70);
  EXPECT_EQ(peak_of(machine, "avx2", 1, 11).value().bytes_per_s, 60);
  EXPECT_EQ(peak_of(machine, "avx2", 1, 101).value().bytes_per_s, 50);
  EXPECT_EQ(peak_of(machine, "avx2", 1, 1e9).value().bytes_per_s, 50);
}

TEST(Peak, QuantisedProductsRunAtTheF32Rate) {
  const Peak peak = peak_of(sample_machine(), "avx2", 1, 0).value();
  EXPECT_EQ(peak.fp8_flop_per_s, 100);
  EXPECT_EQ(peak.bf16_flop_per_s, 100);
  EXPECT_EQ(peak.int8_flop_per_s, 300);
}

TEST(Peak, AnUnmeasuredInstructionSetOrThreadCountIsRefused) {
  EXPECT_EQ(peak_of(sample_machine(), "avx512", 1, 0).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(peak_of(sample_machine(), "avx2", 4, 0).error().code, ErrorCode::kUnsupported);
}

StepBenchOptions step_options(std::vector<std::int64_t> frontiers) {
  StepBenchOptions options;
  options.engine.model = kModel;
  options.engine.chunk_tokens = 64;
  options.frontiers = std::move(frontiers);
  options.decode_steps = 4;
  options.prefill_chunks = 2;
  return options;
}

TEST(BenchStep, MeasuresEveryFrontierWithThePlannedBytes) {
  std::vector<std::int64_t> seen;
  const auto bench = bench_step(step_options({128, 256, 700}), {},
                                [&](const FrontierSpeed& s) { seen.push_back(s.n_tokens); });
  ASSERT_TRUE(bench.ok()) << bench.error().message;
  EXPECT_EQ(seen, (std::vector<std::int64_t>{128, 256, 700}));
  ASSERT_EQ(bench->speeds.size(), 3U);
  for (const FrontierSpeed& speed : bench->speeds) {
    EXPECT_EQ(speed.kv_bytes, speed.kv_planned.total()) << speed.n_tokens;
    EXPECT_GT(speed.prefill_tok_per_s, 0) << speed.n_tokens;
    EXPECT_LE(speed.decode_p10_s, speed.decode_p90_s) << speed.n_tokens;
    EXPECT_GT(speed.first_decode_median_s, 0) << speed.n_tokens;
  }
  EXPECT_EQ(bench->speeds[0].decode_of_first(), 1);
  EXPECT_EQ(bench->speeds[2].n_prefill_timed, 128);
  EXPECT_EQ(bench->speeds[2].n_decode_timed, 4);
}

TEST(BenchStep, RefusesFrontiersThatCannotBeMeasured) {
  const std::vector<std::vector<std::int64_t>> bad = {{},         {0},        {127},          {-1},
                                                      {256, 128}, {256, 383}, {(1 << 20) + 1}};
  for (const std::vector<std::int64_t>& frontiers : bad) {
    const auto bench = bench_step(step_options(frontiers));
    ASSERT_FALSE(bench.ok());
    EXPECT_EQ(bench.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(bench.error().message.find("frontiers"), std::string::npos);
  }
}

TEST(BenchStep, StopsWhenAsked) {
  const auto bench = bench_step(step_options({512}), [](const Progress&) { return false; });
  ASSERT_FALSE(bench.ok());
  EXPECT_EQ(bench.error().code, ErrorCode::kCancelled);
}

// 252 of 256 tokens is where the long session waits for the one that stays at the first frontier.
TEST(BenchStep, StopsWhereTheSecondSessionIsPrefilled) {
  int n_waiting = 0;
  const auto bench = bench_step(step_options({128, 256}), [&](const Progress& progress) {
    return progress.done_tokens < 252 || ++n_waiting < 2;
  });
  ASSERT_FALSE(bench.ok());
  EXPECT_EQ(bench.error().code, ErrorCode::kCancelled);
}

std::int64_t n_calls(const Profile& profile, const std::string& op) {
  const auto found = std::ranges::find(profile.ops, op, &OpProfile::op);
  return found == profile.ops.end() ? 0 : found->n_calls;
}

// The bundled model has 5 layers: 2 window, 2 sparse, 1 heavy.
TEST(BenchProfile, BooksEveryOperationOfEveryStep) {
  ProfileOptions options;
  options.engine.model = kModel;
  options.engine.chunk_tokens = 64;
  options.context = 300;
  options.decode_steps = 2;
  const auto profile = profile_step(options, std::nullopt);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  EXPECT_EQ(profile->prefill.n_tokens, 298);
  EXPECT_EQ(profile->last_chunk.n_tokens, 64);
  EXPECT_EQ(profile->decode.n_tokens, 2);
  EXPECT_EQ(n_calls(profile->prefill, "experts"), 5 * 5);
  EXPECT_EQ(n_calls(profile->decode, "experts"), 2 * 5);
  EXPECT_EQ(n_calls(profile->decode, "attend window"), 2 * 2);
  EXPECT_EQ(n_calls(profile->decode, "attend sparse"), 2 * 2);
  EXPECT_EQ(n_calls(profile->decode, "attend heavy"), 2 * 1);
  const double in_ops =
      std::accumulate(profile->decode.ops.begin(), profile->decode.ops.end(), 0.0,
                      [](double sum, const OpProfile& op) { return sum + op.seconds; });
  EXPECT_LE(in_ops, profile->decode.seconds);
  EXPECT_TRUE(
      std::ranges::is_sorted(profile->decode.ops, std::ranges::greater(), &OpProfile::seconds));
}

TEST(BenchProfile, AMachineOfAnotherKindIsRefused) {
  ProfileOptions options;
  options.engine.model = kModel;
  options.context = 128;
  EXPECT_EQ(profile_step(options, Machine{}).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace precis
