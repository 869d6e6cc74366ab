// Element-wise work on whole rows: embedding, RMS norm, the sum into the streams.
#include "backend/cuda/numbers.cuh"
#include "backend/cuda/ops.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void embed_rows(const std::int32_t* ids, WeightView table, Cube<float> out) {
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

__global__ void norm_rows(const float* x, std::int64_t x_stride, const float* weight, int width,
                          float eps, Rounding rounding, float* out, std::int64_t out_stride) {
  __shared__ float sums[kWarp];
  const float* from = x + blockIdx.x * x_stride;
  float* to = out + blockIdx.x * out_stride;
  const float scale = block_inverse_rms(from, width, eps, sums);
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) {
    to[i] = round_as(from[i] * scale * weight[i], rounding);
  }
}

__global__ void add_rows(const float* x, std::int64_t x_stride, Cube<float> streams,
                         Rounding rounding) {
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
  embed_rows<<<static_cast<unsigned>(args.out.n), kThreads, 0, device.stream>>>(
      args.ids.data(), view_of(args.table), args.out);
  PRECIS_CUDA_LAUNCHED();
}

void rms_norm(Device& device, const RmsNormArgs& args) {
  if (args.x.empty()) return;
  norm_rows<<<static_cast<unsigned>(args.x.rows), kThreads, 0, device.stream>>>(
      args.x.data, args.x.stride, args.weight.data(), static_cast<int>(args.x.cols), args.eps,
      args.rounding, args.out.data, args.out.stride);
  PRECIS_CUDA_LAUNCHED();
}

void add_to_streams(Device& device, const AddToStreamsArgs& args) {
  if (args.x.empty()) return;
  add_rows<<<static_cast<unsigned>(args.x.rows), kThreads, 0, device.stream>>>(
      args.x.data, args.x.stride, args.streams, args.rounding);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace precis::cuda
