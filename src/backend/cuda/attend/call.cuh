// One call of the attention kernels, and where the i-th row of a token's list lies.
#pragma once

#include <cstdint>
#include <span>

#include "backend/cuda/device.h"
#include "backend/cuda/numbers.cuh"
#include "ops/attend.h"

namespace precis::cuda {

/// The call as the kernels see it: the queries of one KV head, and pointers on the device.
struct AttendCall {
  Cube<const float> q;
  KvRowFormat format;
  Rows window_rows;
  int window;
  StepValue step_begin;
  Rows compressed;
  const std::int32_t* n_first;  // [T], or null
  Mat<const std::int32_t> listed;
  const float* sink;
  float scale;
  Mat<const float> angles;
  Cube<float> out;
  Mat<float> mass;
  Rounding rounding;
  int key_begin;
  int value_begin;
  int first_head;  // of the heads that share the rows
  int n_heads;

  __device__ int n_window(std::int64_t t) const {
    const std::int64_t position = step_begin + t;
    return static_cast<int>(position < window ? (window == 0 ? 0 : position + 1) : window);
  }
  __device__ int n_listed(std::int64_t t) const {
    return n_first != nullptr ? n_first[t] : static_cast<int>(listed.cols);
  }
  __device__ int n_rows(std::int64_t t) const { return n_window(t) + n_listed(t); }
};

struct RowPointer {
  const std::uint8_t* data;  // null where the list has no row
  const std::uint8_t* scales;
};

/// Row i of the list of token t: the window, oldest first, then the selected rows.
__device__ inline RowPointer row_at(const AttendCall& c, std::int64_t t, int i) {
  const int n_window = c.n_window(t);
  if (i < n_window) {
    const std::int64_t position = c.step_begin + t - n_window + 1 + i;
    const std::int64_t slot =
        position < c.step_begin ? position % c.window : c.window + (position - c.step_begin);
    return {c.window_rows.data(slot), c.window_rows.scales(slot)};
  }
  std::int64_t row = i - n_window;
  if (c.n_first == nullptr) row = c.listed.data[t * c.listed.stride + row];
  if (row < 0) return {nullptr, nullptr};
  return {c.compressed.data(row), c.compressed.scales(row)};
}

/// Calls of the same multiple of 64 heads over released V4 rows in bf16, on tensor cores (heads.cu).  No
/// token has more than `most_rows` rows.
void attend_heads(Device& device, std::span<const AttendCall> calls, std::int64_t most_rows);

/// Every format and number of heads (general.cu).
void attend_general(Device& device, const AttendCall& call, std::int64_t most_listed);

}  // namespace precis::cuda
