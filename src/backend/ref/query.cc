#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/ref/numbers.h"
#include "backend/ref/ops.h"
#include "tensor/rows.h"

namespace precis::ref {

void query(const QueryArgs& args) {
  for (std::int64_t t = 0; t < args.q.n; ++t) {
    for (std::int64_t h = 0; h < args.q.planes; ++h) {
      const std::span<float> head(args.q.at(t, h), args.q.cols);
      const double scale = inverse_rms(head, args.eps);
      for (float& value : head) value = rounded(value * scale, args.rounding);
      rotate_tail(head, args.rope, t, Rotation::kForward, args.rounding);
    }
  }
}

void window_rows(const WindowRowsArgs& args) {
  std::vector<float> row(args.kv.cols);
  for (std::int64_t t = 0; t < args.kv.rows; ++t) {
    normalise(args.kv.row_span(t), args.norm, args.eps, args.rounding, row);
    rotate_tail(row, args.rope, t, Rotation::kForward, args.rounding);
    write_kv_row(args.rows.pool, args.rows.window + t, args.format, row);
  }
}

void commit_window(const CommitWindowArgs& args) {
  const RowPool& pool = args.rows.pool;
  const std::int64_t first = std::max<std::int64_t>(0, args.n_tokens - args.rows.window);
  for (std::int64_t i = first; i < args.n_tokens; ++i) {
    const std::int64_t from = args.rows.window + i;
    const std::int64_t to = (args.rows.step_begin + i) % args.rows.window;
    std::memcpy(pool.data(to), pool.data(from), pool.data_bytes);
    std::memcpy(pool.scales(to), pool.scales(from), pool.scale_bytes);
  }
}

void index_query(const IndexQueryArgs& args) {
  for (std::int64_t t = 0; t < args.q.n; ++t) {
    for (std::int64_t h = 0; h < args.q.planes; ++h) {
      std::vector<float> head(args.q.at(t, h), args.q.at(t, h) + args.q.cols);
      rotate_tail(head, args.rope, t, Rotation::kForward, args.rounding);
      hadamard(head, args.rounding);
      write_index_row(args.out, t * args.q.planes + h, args.format, head);
    }
  }
}

}  // namespace precis::ref
