// Per-head work between the projections and attention: a block per row, held in shared memory.
#include <algorithm>

#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWindowThreads = 512;  // few rows, each by one block

int shared_bytes(std::int64_t width) {
  return static_cast<int>(4 * (width + kWarp));
}

__global__ void query_heads(QueryArgs a) {
  extern __shared__ float row[];
  begin_kernel();
  const int width = static_cast<int>(a.q.cols);
  float* sums = row + width;
  const std::int64_t t = blockIdx.x / a.q.planes;
  float* head = a.q.data + static_cast<std::int64_t>(blockIdx.x) * width;
  const float scale = block_inverse_rms(head, width, a.eps, sums);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    row[i] = round_as(head[i] * scale, a.rounding);
  }
  __syncthreads();
  const Mat<const float>& angles = a.rope.cos_sin;
  block_rotate(row, width, angles.data + t * angles.stride, static_cast<int>(angles.cols),
               a.rounding);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) head[i] = row[i];
}

__global__ void store_window_rows(Mat<const float> kv, const float* norm, RopeTable rope,
                                  KvRowFormat format, Rows rows, int window, float eps,
                                  Rounding rounding) {
  extern __shared__ float row[];
  begin_kernel();
  const int width = static_cast<int>(kv.cols);
  const std::int64_t t = blockIdx.x;
  const float* from = kv.data + t * kv.stride;
  const float scale = block_inverse_rms(from, width, eps, row + width);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kWindowThreads) {
    row[i] = round_as(from[i] * scale * __ldg(&norm[i]), rounding);
  }
  __syncthreads();
  block_rotate(row, width, rope.cos_sin.data + t * rope.cos_sin.stride,
               static_cast<int>(rope.cos_sin.cols), rounding);
  block_write_kv_row(row, rows, window + t, format);
}

__global__ void move_rows(Rows rows, int window, StepValue step_begin, std::int64_t first) {
  begin_kernel();
  const std::int64_t i = first + blockIdx.x;
  const std::int64_t to = (step_begin + i) % window;
  const std::int64_t from = window + i;
  for (int b = static_cast<int>(threadIdx.x); b < rows.data_bytes; b += kThreads) {
    rows.data(to)[b] = rows.data(from)[b];
  }
  for (int b = static_cast<int>(threadIdx.x); b < rows.scale_bytes; b += kThreads) {
    rows.scales(to)[b] = rows.scales(from)[b];
  }
}

__global__ void pack_index_queries(Cube<const float> q, RopeTable rope, Rows out,
                                   Rounding rounding) {
  extern __shared__ float row[];
  begin_kernel();
  const int width = static_cast<int>(q.cols);
  const std::int64_t t = blockIdx.x / q.planes;
  const float* head = q.data + static_cast<std::int64_t>(blockIdx.x) * width;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) row[i] = head[i];
  __syncthreads();
  block_rotate(row, width, rope.cos_sin.data + t * rope.cos_sin.stride,
               static_cast<int>(rope.cos_sin.cols), rounding);
  block_hadamard(row, width, rounding);
  block_write_index_row(row, out, blockIdx.x, width);
}

}  // namespace

void query(Device& device, const QueryArgs& args) {
  const std::int64_t n = args.q.n * args.q.planes;
  if (n == 0) return;
  launch_overlapping(device, query_heads, static_cast<unsigned>(n), kThreads,
                     shared_bytes(args.q.cols), 1, args);
}

void window_rows(Device& device, const WindowRowsArgs& args) {
  if (args.kv.rows == 0) return;
  PRECIS_CHECK(args.format.nope_storage == NopeStorage::kE4m3Scales8);
  launch_overlapping(device, store_window_rows, static_cast<unsigned>(args.kv.rows), kWindowThreads,
                     shared_bytes(args.kv.cols), 1, args.kv, args.norm.data(), args.rope,
                     args.format, rows_of(args.rows.pool), args.rows.window, args.eps,
                     args.rounding);
}

void commit_window(Device& device, const CommitWindowArgs& args) {
  if (args.n_tokens == 0 || args.rows.window == 0) return;
  const std::int64_t first = std::max<std::int64_t>(0, args.n_tokens - args.rows.window);
  launch_overlapping(device, move_rows, static_cast<unsigned>(args.n_tokens - first), kThreads, 0,
                     1, rows_of(args.rows.pool), args.rows.window,
                     StepValue{args.rows.step_begin, args.rows.step_begin_cell}, first);
}

void index_query(Device& device, const IndexQueryArgs& args) {
  const std::int64_t n = args.q.n * args.q.planes;
  if (n == 0) return;
  PRECIS_CHECK(args.format.storage == IndexStorage::kE2m1);
  launch_overlapping(device, pack_index_queries, static_cast<unsigned>(n), kThreads,
                     shared_bytes(args.q.cols), 1, args.q, args.rope, rows_of(args.out),
                     args.rounding);
}

}  // namespace precis::cuda
