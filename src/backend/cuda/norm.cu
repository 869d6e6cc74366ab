// Element-wise work on whole rows: embedding, RMS norm, the sum into the streams.
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void embed_rows(const std::int32_t* ids, WeightView table, Cube<float> out) {
  begin_kernel();
  const std::int64_t t = blockIdx.x;
  const std::int64_t row = static_cast<std::int64_t>(ids[t]) * table.n_in;
  for (int d = static_cast<int>(threadIdx.x); d < table.n_in; d += kThreads) {
    const float value =
        table.format == WeightFormat::kBf16
            ? bf16_bits_to_float(reinterpret_cast<const std::uint16_t*>(table.codes)[row + d])
            : reinterpret_cast<const float*>(table.codes)[row + d];
    for (int m = 0; m < out.planes; ++m) out.data[(t * out.planes + m) * out.cols + d] = value;
  }
}

constexpr int kNormThreads = 512;
constexpr int kMaxNormWidth = (48 * 1024) / 4 - kWarp;

// The row stays in shared memory between the sum and the product.
__global__ void __launch_bounds__(kNormThreads)
    norm_rows(const float* x, std::int64_t x_stride, const float* weight, int width, float eps,
              Rounding rounding, float* out, std::int64_t out_stride) {
  extern __shared__ float row[];
  constexpr int kLineValues = 32;
  const auto thread = static_cast<int>(threadIdx.x);
  for (int i = thread * kLineValues; i < width; i += kNormThreads * kLineValues) {
    prefetch(&weight[i]);
  }
  begin_kernel();
  const float* from = x + blockIdx.x * x_stride;
  float* to = out + blockIdx.x * out_stride;
  float sum = 0;
#pragma unroll 8
  for (int i = thread; i < width; i += kNormThreads) {
    row[i] = from[i];
    sum = fmaf(row[i], row[i], sum);
  }
  const float mean = block_sum(sum, row + width) / static_cast<float>(width);
  const float scale = 1.0f / sqrtf(mean + eps);
#pragma unroll 8
  for (int i = thread; i < width; i += kNormThreads) {
    to[i] = round_as(row[i] * scale * __ldg(&weight[i]), rounding);
  }
}

__global__ void add_rows(const float* x, std::int64_t x_stride, Cube<float> streams,
                         Rounding rounding) {
  begin_kernel();
  const std::int64_t t = blockIdx.x;
  for (int m = 0; m < streams.planes; ++m) {
    float* stream = streams.data + (t * streams.planes + m) * streams.cols;
    for (int d = static_cast<int>(threadIdx.x); d < streams.cols; d += kThreads) {
      stream[d] = round_as(stream[d] + x[t * x_stride + d], rounding);
    }
  }
}

}  // namespace

void embed(Device& device, const EmbedArgs& args) {
  if (args.out.n == 0) return;
  launch_overlapping(device, embed_rows, static_cast<unsigned>(args.out.n), kThreads, 0, 1,
                     args.ids.data(), view_of(args.table), args.out);
}

void rms_norm(Device& device, const RmsNormArgs& args) {
  if (args.x.empty()) return;
  const auto width = static_cast<int>(args.x.cols);
  PRECIS_CHECK_LE(width, kMaxNormWidth);
  launch_overlapping(device, norm_rows, static_cast<unsigned>(args.x.rows), kNormThreads,
                     4 * (width + kWarp), 1, args.x.data, args.x.stride, args.weight.data(), width,
                     args.eps, args.rounding, args.out.data, args.out.stride);
}

void add_to_streams(Device& device, const AddToStreamsArgs& args) {
  if (args.x.empty()) return;
  launch_overlapping(device, add_rows, static_cast<unsigned>(args.x.rows), kThreads, 0, 1,
                     args.x.data, args.x.stride, args.streams, args.rounding);
}

}  // namespace precis::cuda
