// Argument checks of every operation: what the docstrings state about shapes, once per call.
//
// A failed check is a bug of the caller in model/; configuration and checkpoint were validated
// before.  Views are judged by shared helpers, so each check carries the argument's name.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "ops/attend.h"
#include "ops/compress.h"
#include "ops/embed.h"
#include "ops/experts.h"
#include "ops/hyper.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/query.h"
#include "ops/select.h"

namespace precis {
namespace {

void check_equal(const std::string& what, std::int64_t got, std::int64_t want) {
  if (got != want) [[unlikely]] {
    check_failed(__FILE__, __LINE__, what.c_str(), detail::check_values(got, want));
  }
}

template <typename T>
void check_mat(const char* name, const Mat<T>& mat, std::int64_t rows, std::int64_t cols) {
  check_equal(std::string(name) + ".rows", mat.rows, rows);
  check_equal(std::string(name) + ".cols", mat.cols, cols);
  if (mat.empty()) return;
  if (mat.data == nullptr) check_failed(__FILE__, __LINE__, name, "is null");
  PRECIS_CHECK_LE(mat.cols, mat.stride);
}

template <typename T>
void check_cube(const char* name, const Cube<T>& cube, std::int64_t n, std::int64_t planes,
                std::int64_t cols) {
  check_equal(std::string(name) + ".n", cube.n, n);
  check_equal(std::string(name) + ".planes", cube.planes, planes);
  check_equal(std::string(name) + ".cols", cube.cols, cols);
  if (n * planes * cols == 0) return;
  if (cube.data == nullptr) check_failed(__FILE__, __LINE__, name, "is null");
}

template <typename T>
void check_span(const char* name, std::span<T> span, std::int64_t size) {
  check_equal(std::string(name) + ".size", std::ssize(span), size);
}

void check_weight(const char* name, const Weight* weight, std::int64_t n_out, std::int64_t n_in) {
  if (weight == nullptr) check_failed(__FILE__, __LINE__, name, "is null");
  check_equal(std::string(name) + ".n_out", weight->n_out(), n_out);
  check_equal(std::string(name) + ".n_in", weight->n_in(), n_in);
}

void check_rope(const RopeTable& rope, std::int64_t n, std::int64_t row_width) {
  check_mat("rope", rope.cos_sin, n, rope.cos_sin.cols);
  PRECIS_CHECK_EQ(rope.cos_sin.cols % 2, 0);
  PRECIS_CHECK_LE(rope.cos_sin.cols, row_width);
}

void check_kv_pool(const RowPool& pool, const KvRowFormat& format) {
  PRECIS_CHECK(pool.pages != nullptr);
  PRECIS_CHECK_LT(0, pool.rows_per_page);
  PRECIS_CHECK_EQ(pool.data_bytes, format.data_bytes());
  PRECIS_CHECK_EQ(pool.scale_bytes, format.scale_bytes());
}

void check_index_pool(const RowPool& pool, const IndexRowFormat& format) {
  PRECIS_CHECK(pool.pages != nullptr);
  PRECIS_CHECK_LT(0, pool.rows_per_page);
  PRECIS_CHECK_EQ(pool.data_bytes, format.data_bytes());
  PRECIS_CHECK_EQ(pool.scale_bytes, format.scale_bytes());
}

void check_index_width(int width) {
  PRECIS_CHECK_LT(0, width);
  PRECIS_CHECK_EQ(width & (width - 1), 0);  // the Hadamard transform needs a power of two
  PRECIS_CHECK_EQ(width % IndexRowFormat::kGroup, 0);
}

void check_window(const WindowRows& rows, const KvRowFormat* format) {
  PRECIS_CHECK_LE(0, rows.window);
  PRECIS_CHECK_LE(std::int64_t{0}, rows.step_begin);
  if (rows.window == 0) return;
  PRECIS_CHECK(rows.pool.pages != nullptr);
  PRECIS_CHECK_EQ(rows.pool.rows_per_page, rows.window);
  if (format != nullptr) check_kv_pool(rows.pool, *format);
}

void check_hyper(const HyperWeights& weights, std::int64_t n_mix, std::int64_t n_in, int n_scales) {
  check_weight("fn", weights.fn, n_mix, n_in);
  PRECIS_CHECK(weights.fn->format() == WeightFormat::kF32);
  check_span("base", weights.base, n_mix);
  check_span("scale", weights.scale, n_scales);
}

void check_expert(const ExpertWeights& expert, std::int64_t width) {
  PRECIS_CHECK(expert.w1 != nullptr);
  const std::int64_t hidden = expert.w1->n_out();
  check_weight("w1", expert.w1, hidden, width);
  check_weight("w3", expert.w3, hidden, width);
  check_weight("w2", expert.w2, width, hidden);
}

}  // namespace

void check(const EmbedArgs& args) {
  PRECIS_CHECK(args.table != nullptr);
  PRECIS_CHECK(args.table->format() == WeightFormat::kBf16 ||
               args.table->format() == WeightFormat::kF32);
  PRECIS_CHECK_LE(std::int64_t{1}, args.out.planes);
  check_cube("out", args.out, std::ssize(args.ids), args.out.planes, args.table->n_in());
  for (const std::int32_t id : args.ids) {
    PRECIS_CHECK_LE(0, id);
    PRECIS_CHECK_LT(id, args.table->n_out());
  }
}

void check(const LinearArgs& args) {
  PRECIS_CHECK_LE(1, args.n_groups);
  PRECIS_CHECK(args.n_groups == 1 || args.input == InputQuant::kNone);
  check_mat("x", args.x, args.x.rows, args.x.cols);
  for (const LinearTarget& target : args.targets) {
    PRECIS_CHECK(target.weight != nullptr);
    PRECIS_CHECK_EQ(target.weight->n_out() % args.n_groups, 0);
    PRECIS_CHECK_EQ(target.weight->n_in() * args.n_groups, args.x.cols);
    check_mat("out", target.out, args.x.rows, target.weight->n_out());
    if (!target.out.empty()) PRECIS_CHECK(target.out.data != args.x.data);
  }
}

void check(const RmsNormArgs& args) {
  check_mat("x", args.x, args.x.rows, args.x.cols);
  check_span("weight", args.weight, args.x.cols);
  check_mat("out", args.out, args.x.rows, args.x.cols);
}

void check(const AddToStreamsArgs& args) {
  check_mat("x", args.x, args.x.rows, args.x.cols);
  check_cube("streams", args.streams, args.x.rows, args.streams.planes, args.x.cols);
}

void check(const HyperPreArgs& args) {
  const auto& [data, n_tokens, n_streams, width] = args.streams;
  check_cube("streams", args.streams, n_tokens, n_streams, width);
  check_hyper(args.weights, n_streams * (2 + n_streams), n_streams * width, 3);
  PRECIS_CHECK_LE(1, args.params.sinkhorn_iters);
  check_mat("x", args.x, n_tokens, width);
  check_mat("post", args.post, n_tokens, n_streams);
  check_mat("comb", args.comb, n_tokens, n_streams * n_streams);
}

void check(const HyperPostArgs& args) {
  const auto& [data, n_tokens, n_streams, width] = args.streams;
  check_cube("streams", args.streams, n_tokens, n_streams, width);
  check_mat("f", args.f, n_tokens, width);
  check_mat("post", args.post, n_tokens, n_streams);
  check_mat("comb", args.comb, n_tokens, n_streams * n_streams);
  check_cube("out", args.out, n_tokens, n_streams, width);
}

void check(const HyperHeadArgs& args) {
  const auto& [data, n_tokens, n_streams, width] = args.streams;
  check_cube("streams", args.streams, n_tokens, n_streams, width);
  check_hyper(args.weights, n_streams, n_streams * width, 1);
  check_mat("x", args.x, n_tokens, width);
}

void check(const QueryArgs& args) {
  check_cube("q", args.q, args.q.n, args.q.planes, args.q.cols);
  check_rope(args.rope, args.q.n, args.q.cols);
}

void check(const WindowRowsArgs& args) {
  check_mat("kv", args.kv, args.kv.rows, args.format.width());
  check_span("norm", args.norm, args.kv.cols);
  check_rope(args.rope, args.kv.rows, args.kv.cols);
  PRECIS_CHECK_EQ(args.rope.cos_sin.cols, args.format.rope);
  PRECIS_CHECK_LT(0, args.rows.window);
  check_window(args.rows, &args.format);
}

void check(const CommitWindowArgs& args) {
  PRECIS_CHECK_LE(std::int64_t{0}, args.n_tokens);
  check_window(args.rows, nullptr);
}

void check(const IndexQueryArgs& args) {
  check_cube("q", args.q, args.q.n, args.q.planes, args.format.width);
  check_index_width(args.format.width);
  check_rope(args.rope, args.q.n, args.q.cols);
  if (args.q.n > 0) check_index_pool(args.out, args.format);
}

void check(const CompressArgs& args) {
  PRECIS_CHECK_LE(1, args.ratio);
  PRECIS_CHECK_LE(std::int64_t{0}, args.first_position);
  const int n_halves = args.overlap ? 2 : 1;
  PRECIS_CHECK_EQ(args.kv.cols % n_halves, 0);
  check_mat("kv", args.kv, args.kv.rows, args.kv.cols);
  check_mat("score", args.score, args.kv.rows, args.kv.cols);
  check_span("ape", args.ape, args.ratio * args.kv.cols);
  check_span("norm", args.norm, args.width());
  check_mat("state_kv", args.state_kv, args.ratio * n_halves, args.kv.cols);
  check_mat("state_score", args.state_score, args.ratio * n_halves, args.kv.cols);
  check_rope(args.rope, args.n_finished(), args.width());
  if (args.kind == CompressedKind::kKvRow) {
    PRECIS_CHECK_EQ(args.width(), args.kv_format.width());
    if (args.n_finished() > 0) {
      PRECIS_CHECK_EQ(args.rope.cos_sin.cols, args.kv_format.rope);
      check_kv_pool(args.rows, args.kv_format);
    }
  } else {
    PRECIS_CHECK_EQ(args.width(), args.index_format.width);
    check_index_width(args.index_format.width);
    if (args.n_finished() > 0) check_index_pool(args.rows, args.index_format);
  }
}

void check(const SelectArgs& args) {
  const std::int64_t n_tokens = args.weights.rows;
  check_mat("weights", args.weights, n_tokens, args.weights.cols);
  check_index_width(args.format.width);
  check_span("n_visible", args.n_visible, n_tokens);
  check_mat("out", args.out, n_tokens, args.out.cols);
  for (const std::int32_t n : args.n_visible) {
    PRECIS_CHECK_LE(0, n);
    if (n == 0) continue;
    check_index_pool(args.queries, args.format);
    check_index_pool(args.keys, args.format);
  }
}

void check(const AttendArgs& args) {
  const std::int64_t n_tokens = args.q.n;
  const Channels key = args.key_channels();
  const Channels value = args.value_channels();
  for (const Channels& part : {key, value}) {
    PRECIS_CHECK_LE(0, part.begin);
    PRECIS_CHECK_LE(part.end(), args.format.width());
  }
  PRECIS_CHECK_LE(1, args.n_kv_heads);
  PRECIS_CHECK_EQ(args.q.planes % args.n_kv_heads, 0);
  check_cube("q", args.q, n_tokens, args.q.planes, key.count);
  check_cube("out", args.out, n_tokens, args.q.planes, value.count);
  if (n_tokens > 0) PRECIS_CHECK(args.out.data != args.q.data);
  check_window(args.window, &args.format);
  if (!args.sink.empty()) check_span("sink", args.sink, args.q.planes);
  if (args.rope.cos_sin.cols > 0) {
    check_rope(args.rope, n_tokens, args.out.cols);
    PRECIS_CHECK_EQ(args.rope.cos_sin.cols, args.format.rope);
    PRECIS_CHECK_EQ(value.end(), args.format.width());  // only rotated channels are turned back
  }
  const std::int64_t n_lists = n_tokens * args.n_kv_heads;
  if (!args.mass.empty()) check_mat("mass", args.mass, n_lists, args.mass.cols);

  const RowSelection& selection = args.selection;
  PRECIS_CHECK(selection.n_first.empty() || selection.listed.empty());
  if (!selection.n_first.empty()) check_span("n_first", selection.n_first, n_tokens);
  if (!selection.listed.empty()) {
    check_mat("listed", selection.listed, n_lists, selection.listed.cols);
    check_kv_pool(args.compressed, args.format);
    if (!args.mass.empty()) PRECIS_CHECK_LE(selection.listed.cols, args.mass.cols);
  }
  for (const std::int32_t n : selection.n_first) {
    PRECIS_CHECK_LE(0, n);
    if (n > 0) check_kv_pool(args.compressed, args.format);
    if (!args.mass.empty()) PRECIS_CHECK_LE(n, args.mass.cols);
    if (selection.max_first >= 0) PRECIS_CHECK_LE(n, selection.max_first);
  }
}

void check(const RouteArgs& args) {
  const std::int64_t n_tokens = args.x.rows;
  const std::int64_t n_active = args.expert_idx.cols;
  PRECIS_CHECK(args.gate != nullptr);
  check_mat("x", args.x, n_tokens, args.gate->n_in());
  PRECIS_CHECK_LE(n_active, args.gate->n_out());
  check_mat("expert_idx", args.expert_idx, n_tokens, n_active);
  check_mat("weight", args.weight, n_tokens, n_active);
  if (args.tid2eid.empty()) {
    check_span("bias", args.bias, args.gate->n_out());
    return;
  }
  PRECIS_CHECK(args.bias.empty());
  check_mat("tid2eid", args.tid2eid, args.tid2eid.rows, n_active);
  check_span("ids", args.ids, n_tokens);
  for (const std::int32_t id : args.ids) {
    PRECIS_CHECK_LE(0, id);
    PRECIS_CHECK_LT(id, args.tid2eid.rows);
  }
}

void check(const ExpertsArgs& args) {
  check_mat("x", args.x, args.x.rows, args.x.cols);
  check_mat("out", args.out, args.x.rows, args.x.cols);
  check_mat("expert_idx", args.expert_idx, args.x.rows, args.expert_idx.cols);
  check_mat("weight", args.weight, args.x.rows, args.expert_idx.cols);
  check_expert(args.shared, args.x.cols);
  for (const ExpertWeights& expert : args.experts) check_expert(expert, args.x.cols);
  for (std::int64_t t = 0; t < args.expert_idx.rows; ++t) {
    std::int32_t previous = 0;
    for (const std::int32_t expert : args.expert_idx.row_span(t)) {
      PRECIS_CHECK_LE(previous, expert);  // ascending, and so not negative
      PRECIS_CHECK_LT(expert, std::ssize(args.experts));
      previous = expert;
    }
  }
}

}  // namespace precis
