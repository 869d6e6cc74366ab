// Per-head work between the projections and attention: queries, window rows, index queries.
//
// Rows are independent, so any cut into parallel chunks gives the same bits.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backend/cpu/backend.h"
#include "backend/cpu/grain.h"
#include "tensor/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/query.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/row_math.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {

void query_tokens(const QueryArgs& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    for (std::int64_t h = 0; h < a.q.planes; ++h) {
      float* head = a.q.at(t, h);
      rms_norm_row(head, a.q.cols, nullptr, a.eps, head);
      round_row(head, a.q.cols, a.rounding);
      rotate_row(head, a.q.cols, a.rope, t, a.rounding);
    }
  }
}

// `row` has room for one row.
void window_rows_tokens(const WindowRowsArgs& a, std::int64_t begin, std::int64_t end, float* row) {
  for (std::int64_t t = begin; t < end; ++t) {
    rms_norm_row(a.kv.row(t), a.kv.cols, a.norm.data(), a.eps, row);
    round_row(row, a.kv.cols, a.rounding);
    rotate_row(row, a.kv.cols, a.rope, t, a.rounding);
    write_kv_row(a.rows.pool, a.rows.window + t, a.format,
                 {row, static_cast<std::size_t>(a.kv.cols)});
  }
}

void index_query_tokens(const IndexQueryArgs& a, std::int64_t begin, std::int64_t end, float* row) {
  for (std::int64_t t = begin; t < end; ++t) {
    for (std::int64_t h = 0; h < a.q.planes; ++h) {
      std::copy_n(a.q.at(t, h), a.q.cols, row);
      rotate_row(row, a.q.cols, a.rope, t, a.rounding);
      hadamard_row(row, a.format.width);
      round_row(row, a.q.cols, a.rounding);
      write_index_row(a.out, t * a.q.planes + h, a.format,
                      {row, static_cast<std::size_t>(a.q.cols)});
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

// Norm, rotation and packing of a row together.
constexpr double kNsPerValue = 1.0;

double token_ns(std::int64_t n_values) {
  return kNsPerValue * static_cast<double>(n_values);
}

}  // namespace

void CpuBackend::do_query(const QueryArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, query_tokens);
  threads_.parallel_for(a.q.n, grain_for(token_ns(a.q.planes * a.q.cols)),
                        [&](std::int64_t begin, std::int64_t end, int) { run(a, begin, end); });
}

void CpuBackend::do_window_rows(const WindowRowsArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, window_rows_tokens);
  const auto width = static_cast<std::size_t>(a.kv.cols);
  threads_.parallel_for(a.kv.rows, grain_for(token_ns(a.kv.cols)),
                        [&](std::int64_t begin, std::int64_t end, int worker) {
                          run(a, begin, end, worker_scratch_[worker].get<float>(width));
                        });
}

void CpuBackend::do_commit_window(const CommitWindowArgs& a) {
  const RowPool& pool = a.rows.pool;
  const std::int64_t window = a.rows.window;
  for (std::int64_t i = std::max<std::int64_t>(0, a.n_tokens - window); i < a.n_tokens; ++i) {
    const std::int64_t slot = (a.rows.step_begin + i) % window;
    std::memcpy(pool.data(slot), pool.data(window + i), static_cast<std::size_t>(pool.data_bytes));
    std::memcpy(pool.scales(slot), pool.scales(window + i),
                static_cast<std::size_t>(pool.scale_bytes));
  }
}

void CpuBackend::do_index_query(const IndexQueryArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, index_query_tokens);
  const auto width = static_cast<std::size_t>(a.q.cols);
  threads_.parallel_for(a.q.n, grain_for(token_ns(a.q.planes * a.q.cols)),
                        [&](std::int64_t begin, std::int64_t end, int worker) {
                          run(a, begin, end, worker_scratch_[worker].get<float>(width));
                        });
}

}  // namespace precis
#endif
