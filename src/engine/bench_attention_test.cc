#include <algorithm>

#include <gtest/gtest.h>

#include "precis/lineage.h"

#include "lineage/kinds.h"
#include "plan/lineage_model.h"
#include "plan/released_models.h"

namespace precis {
namespace {

AttentionBenchOptions options_of(std::vector<std::string> kinds, std::int64_t context) {
  AttentionBenchOptions options;
  options.kinds = std::move(kinds);
  options.shape = custom_attention_shape(4, 32).value();
  options.contexts = {context};
  options.chunk_tokens = 3;
  options.n_threads = 1;
  return options;
}

// Two rates that every figure can be judged by.
Machine machine_of(const AttentionBench& bench) {
  Machine machine;
  machine.multiply_adds = {{"f32", bench.isa, 1, 1e9}};
  machine.reads = {{1, 1 << 20, 1e9}};
  return machine;
}

TEST(BenchAttention, EveryKindGivesItsFigures) {
  std::vector<std::string> names;
  for (const AttentionKind& kind : attention_kinds()) names.push_back(kind.name);
  const AttentionBench bench = bench_attention(options_of(names, 700), {}).value();
  const AttentionBench judged =
      bench_attention(options_of({"mla", "mamba"}, 100), machine_of(bench)).value();
  ASSERT_EQ(bench.figures.size(), 2 * names.size());
  for (std::size_t i = 0; i < bench.figures.size(); ++i) {
    const AttentionFigure& figure = bench.figures[i];
    SCOPED_TRACE(figure.kind);
    const bool runs = attention_kinds()[i / 2].runs;
    EXPECT_EQ(figure.kind, names[i / 2]);
    EXPECT_EQ(figure.n_tokens, i % 2 == 0 ? 1 : 3);
    EXPECT_EQ(figure.source == AttentionFigure::Source::kComputed, !runs);
    EXPECT_EQ(figure.seconds > 0, runs);
    EXPECT_GT(figure.flop, 0);
    EXPECT_GT(figure.bytes, 0);
    EXPECT_GT(figure.cache_bytes, 0);
    EXPECT_EQ(figure.bound_s, 0) << "no machine";
  }
  for (const AttentionFigure& figure : judged.figures) {
    EXPECT_DOUBLE_EQ(figure.bound_s, std::max(figure.flop, figure.bytes) / 1e9) << figure.kind;
  }
}

TEST(BenchAttention, V4IsTheMeanOfItsLayers) {
  const AttentionBench bench =
      bench_attention(options_of({"swa", "csa", "hca", "v4"}, 600), {}).value();
  const AttentionShape& shape = bench.shape;
  const auto mean = [&](auto member) {
    return (shape.n_window_layers * bench.figures[0].*member +
            shape.n_sparse_layers * bench.figures[2].*member +
            shape.n_heavy_layers * bench.figures[4].*member) /
           (shape.n_window_layers + shape.n_sparse_layers + shape.n_heavy_layers);
  };
  EXPECT_DOUBLE_EQ(bench.figures[6].flop, mean(&AttentionFigure::flop));
  EXPECT_DOUBLE_EQ(bench.figures[6].bytes, mean(&AttentionFigure::bytes));
  EXPECT_DOUBLE_EQ(bench.figures[6].seconds, mean(&AttentionFigure::seconds));
  EXPECT_DOUBLE_EQ(bench.figures[6].cache_bytes, mean(&AttentionFigure::cache_bytes));
}

Work planned_decode(const char* model, std::int64_t context) {
  const ReleasedModel released = find_released_model(model).value();
  return make_lineage_model(released.config, model).value()->decode(1, context);
}

int n_layers(const char* model) {
  const ReleasedModel released = find_released_model(model).value();
  return make_lineage_model(released.config, model).value()->n_layers();
}

// The planner counts rows, the bench also the words of queries, results and lists.
TEST(BenchAttention, CountsWhatThePlannerPredictsForLatentAttention) {
  constexpr std::int64_t kContext = 300;
  AttentionBenchOptions options = options_of({"mla"}, kContext);
  options.shape = attention_shape("v3.2").value();
  options.chunk_tokens = 1;
  const AttentionFigure figure = bench_attention(options, {}).value().figures[0];
  const Cost planned = planned_decode("v3", kContext)[Part::kAttentionDense];
  const double words = 4.0 * 128 * (576 + 512);
  EXPECT_DOUBLE_EQ(figure.flop, planned.flop.total() / n_layers("v3"));
  EXPECT_DOUBLE_EQ(figure.bytes - words, planned.bytes / n_layers("v3"));
}

TEST(BenchAttention, CountsWhatThePlannerPredictsForSparseAttention) {
  constexpr std::int64_t kContext = 2500;
  AttentionBenchOptions options = options_of({"dsa"}, kContext);
  options.shape = attention_shape("v3.2").value();
  options.chunk_tokens = 1;
  const AttentionFigure figure = bench_attention(options, {}).value().figures[0];
  Cost planned = planned_decode("v3.2", kContext)[Part::kAttentionSparse];
  planned += planned_decode("v3.2", kContext)[Part::kIndexScores];
  const double index_queries = kIndexHeads * (kV32Index.row_bytes() + 4);  // and their weights
  const double words = 4.0 * 128 * (576 + 512) + 2 * 4.0 * kV32Rows;  // lists: written and read
  EXPECT_DOUBLE_EQ(figure.flop, planned.flop.total() / n_layers("v3.2"));
  EXPECT_DOUBLE_EQ(figure.bytes - index_queries - words, planned.bytes / n_layers("v3.2"));
}

TEST(BenchAttention, RefusesWhatItCannotMeasure) {
  const auto message = [](const AttentionBenchOptions& options) {
    const auto bench = bench_attention(options, {});
    return bench ? std::string("none") : bench.error().message;
  };
  EXPECT_NE(message(options_of({}, 10)).find("kinds: want at least one"), std::string::npos);
  EXPECT_NE(message(options_of({"rwkv"}, 10)).find("found \"rwkv\""), std::string::npos);
  EXPECT_NE(message(options_of({"mla"}, 0)).find("context: want 1"), std::string::npos);
  EXPECT_NE(message(options_of({"mla"}, kMaxAttentionContext + 1)).find("found 16777217"),
            std::string::npos);
  AttentionBenchOptions options = options_of({"mla"}, 10);
  options.memory_bytes = 1;
  EXPECT_NE(message(options).find("memory: want at least"), std::string::npos);
  EXPECT_FALSE(attention_shape("tiny"));
  EXPECT_FALSE(custom_attention_shape(0, 32));
  EXPECT_FALSE(custom_attention_shape(4, 33));
}

TEST(BenchAttention, OneTokenOfContextIsEnough) {
  std::vector<std::string> names;
  for (const AttentionKind& kind : attention_kinds()) names.push_back(kind.name);
  EXPECT_TRUE(bench_attention(options_of(names, 1), {}));
}

}  // namespace
}  // namespace precis
