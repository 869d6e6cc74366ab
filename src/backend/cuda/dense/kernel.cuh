// The dense product: a warp copies tiles of weights and inputs into a ring of stages, warpgroups
// multiply them (weights are the 64-row operand) and add each block of 128 to their sums.
#pragma once

#include "backend/cuda/dense/call.cuh"
#include "backend/cuda/dense/config.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"

namespace precis::cuda {

template <typename Config>
class DenseProduct {
 public:
  __device__ DenseProduct(const DenseCall& call, std::uint8_t* shared, Barrier* full,
                          Barrier* empty)
      : call_(call),
        stages_(shared),
        full_(full),
        empty_(empty),
        n_blocks_((call.targets[0].weight.n_in + kSumBlock - 1) / kSumBlock),
        n_batches_((n_blocks_ + Config::kBatch - 1) / Config::kBatch),
        n_row_pieces_((call.n_row_blocks + Config::kCluster - 1) / Config::kCluster),
        rank_(Config::kCluster > 1 ? cluster_rank() : 0),
        consumer_(static_cast<int>(threadIdx.x) / kWarpgroup) {}

  __device__ void init_barriers() const {
    for (int s = 0; s < Config::kStages; ++s) {
      init_barrier(&full_[s], 2);  // weights and inputs are announced one after the other
      init_barrier(&empty_[s], kWarpgroup / kWarp * Config::kConsumers * Config::kCluster);
    }
    publish_barriers();
  }

  // Weights of the first stages: what can be read while an earlier kernel still makes the input.
  __device__ void copy_first_weights() const {
    if (first_work() >= n_work()) return;
    const DenseTile tile = tile_of(first_work());
    const int n = min(n_batches_, Config::kStages);
    for (int batch = 0; batch < n; ++batch) copy_weights(tile, batch, batch);
  }

  __device__ void produce(int n_planes) const {
    RingPlace<Config::kStages> at;
    int n_have_weights = min(n_batches_, Config::kStages);
    for (int work = first_work(); work < n_work(); work += n_clusters()) {
      const DenseTile tile = tile_of(work);
      const int first_block = first_input_block(call_, tile, n_blocks_);
      for (int plane = 0; plane < n_planes; ++plane) {
        for (int batch = 0; batch < n_batches_; ++batch, at.advance()) {
          if (n_have_weights > 0) {
            --n_have_weights;
          } else {
            wait(&empty_[at.stage], at.parity ^ 1);
            copy_weights(tile, batch, at.stage);
          }
          copy_inputs(tile, first_block, plane, batch, at.stage);
        }
      }
    }
  }

  __device__ void consume(int n_planes) const {
    RingPlace<Config::kStages> at;
    for (int work = first_work(); work < n_work(); work += n_clusters()) {
      const DenseTile tile = tile_of(work);
      Sums totals = {};
      for (int plane = 0; plane < n_planes; ++plane) {
        for (int batch = 0; batch < n_batches_; ++batch, at.advance()) {
          std::uint32_t scales[Config::kBatch] = {};
          load_weight_scales(tile, batch, scales);
          wait(&full_[at.stage], at.parity);
          add_batch(batch, at.stage, scales, totals);
          release(at.stage);
        }
      }
      store(tile, totals);
    }
  }

 private:
  using Sums = float[Config::kTokens / 2];

  __device__ int first_work() const { return static_cast<int>(blockIdx.x) / Config::kCluster; }
  __device__ int n_clusters() const { return static_cast<int>(gridDim.x) / Config::kCluster; }
  __device__ int n_work() const { return n_row_pieces_ * call_.n_token_tiles; }

  // Rows run fastest: blocks that run together share tokens and, between them, all weights.
  __device__ DenseTile tile_of(int work) const {
    return DenseTile(call_, work % n_row_pieces_ * Config::kCluster + rank_,
                     work / n_row_pieces_ * Config::kTokens);
  }

  __device__ std::uint8_t* weights_at(int stage) const {
    return stages_ + stage * Config::kStageBytes;
  }
  __device__ std::uint8_t* inputs_at(int stage) const {
    return weights_at(stage) + Config::kWeightBytes;
  }
  __device__ float* input_scales_at(int stage) const {
    return reinterpret_cast<float*>(inputs_at(stage) + Config::kInputBytes);
  }
  __device__ int blocks_of(int batch) const {
    return min(Config::kBatch, n_blocks_ - batch * Config::kBatch);
  }

  // A warp's work, a lane a copy.
  __device__ void copy_weights(const DenseTile& tile, int batch, int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int n_tiles = blocks_of(batch) * Config::kWeightTiles;
    const int n_copies = tile.has_rows ? Config::kConsumers * n_tiles : 0;
    // Rows and columns beyond the weight count, and arrive as zeros.
    if (lane == 0) {
      arrive_expecting(&full_[stage], n_copies * min(call_.rows, kWeightRows) * kAtomRowBytes);
    }
    __syncwarp();
    constexpr int kTileColumns = kSumBlock / Config::kWeightTiles;
    for (int i = lane; i < n_copies; i += kWarp) {
      const int consumer = i / n_tiles;
      const int k_tile = i % n_tiles;
      copy_box(weights_at(stage) +
                   (consumer * Config::kBatch * Config::kWeightTiles + k_tile) * kTileBytes,
               tile.map, (batch * Config::kBatch * Config::kWeightTiles + k_tile) * kTileColumns,
               tile.first_row + consumer * kWeightRows, &full_[stage]);
    }
  }

  __device__ void copy_inputs(const DenseTile& tile, int first_block, int plane, int batch,
                              int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int n_blocks = blocks_of(batch);
    const int n_tiles = n_blocks * Config::kInputTiles;
    constexpr int kShare = Config::kInputTileBytes / Config::kCluster;
    constexpr bool kHasScales = Config::kKind == DenseKind::kFp8;
    if (lane == 0) {
      arrive_expecting(&full_[stage], n_tiles * Config::kInputTileBytes +
                                          (kHasScales ? n_blocks * Config::kTokens * 4 : 0));
    }
    __syncwarp();
    const int block = first_block + batch * Config::kBatch;
    if (lane < n_tiles) {
      const std::int64_t k_tile =
          static_cast<std::int64_t>(plane * call_.x.n_blocks + block) * Config::kInputTiles + lane;
      const std::uint8_t* from =
          call_.x.tiles + (k_tile * call_.x.padded_tokens + tile.first_token) * kAtomRowBytes +
          rank_ * kShare;
      std::uint8_t* to = inputs_at(stage) + lane * Config::kInputTileBytes + rank_ * kShare;
      if constexpr (Config::kCluster > 1) {
        copy_bulk_to_cluster(to, from, kShare, &full_[stage], (1 << Config::kCluster) - 1);
      } else {
        copy_bulk(to, from, kShare, &full_[stage]);
      }
    }
    if (kHasScales && lane < n_blocks) {
      copy_bulk(input_scales_at(stage) + lane * Config::kTokens,
                call_.x.scales + static_cast<std::int64_t>(block + lane) * call_.x.padded_tokens +
                    tile.first_token,
                Config::kTokens * 4, &full_[stage]);
    }
  }

  // Every warp tells every block whose copies fill this stage.
  __device__ void release(int stage) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    __syncwarp();
    if constexpr (Config::kCluster > 1) {
      if (lane < Config::kCluster) arrive_at(&empty_[stage], lane);
    } else {
      if (lane == 0) arrive(&empty_[stage]);
    }
  }

  // Of a batch's blocks; asked for before the batch is waited for.
  __device__ void load_weight_scales(const DenseTile& tile, int batch,
                                     std::uint32_t (&scales)[Config::kBatch]) const {
    if constexpr (Config::kKind != DenseKind::kBf16) {
      const WeightView& weight = tile.target->weight;
      const int row = tile.first_row + consumer_ * kWeightRows;
      if (!tile.has_rows || row >= weight.n_out) return;
#pragma unroll
      for (int b = 0; b < Config::kBatch; ++b) {
        scales[b] = load_scale(weight, row, min(batch * Config::kBatch + b, n_blocks_ - 1));
      }
    }
  }

  __device__ void add_batch(int batch, int stage, const std::uint32_t (&scales)[Config::kBatch],
                            Sums& totals) const {
    // Blocks beyond the last are multiplied as the ring holds them, and not added.
    Sums sums[Config::kBatch];
    if constexpr (Config::kKind == DenseKind::kFp8ByBf16) {
      multiply_expanded(stage, sums);
    } else {
      multiply_stored(stage, sums);
    }
    const int n_blocks = blocks_of(batch);
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) {
      if (b < n_blocks)
        add_block(e8m0_to_float(static_cast<std::uint8_t>(scales[b])), b, stage, sums[b], totals);
    }
  }

  __device__ const std::uint8_t* weight_tile(int stage, int tile) const {
    return weights_at(stage) +
           (consumer_ * Config::kBatch * Config::kWeightTiles + tile) * kTileBytes;
  }
  __device__ std::uint64_t input_tile(int stage, int tile) const {
    return describe(inputs_at(stage) + tile * Config::kInputTileBytes);
  }

  __device__ void multiply_stored(int stage, Sums (&sums)[Config::kBatch]) const {
    using Type = std::conditional_t<Config::kKind == DenseKind::kFp8, E4m3, Bf16>;
    constexpr int kStepsPerTile = kAtomRowBytes / 32;
    begin_products();
    // The blocks of a batch in turn: a product does not wait for the one that it adds to.
#pragma unroll
    for (int s = 0; s < Config::kWeightTiles * kStepsPerTile; ++s) {
      const int t = s / kStepsPerTile;
#pragma unroll
      for (int b = 0; b < Config::kBatch; ++b) {
        const int tile = b * Config::kWeightTiles + t;
        multiply_tiles<Type, Config::kTokens>(
            sums[b], along_k(describe(weight_tile(stage, tile)), s % kStepsPerTile),
            along_k(input_tile(stage, tile), s % kStepsPerTile), s > 0);
      }
    }
    commit_products();
    await_products<0>();
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) hold(sums[b]);
  }

  // Two e4m3 codes, bytes 0 and 1 or 2 and 3 of `word`, as two bf16 numbers: the bits at their places,
  // the exponent's bias by a product with 2^120.  Exact for every finite code; weights hold no others.
  static __device__ std::uint32_t expand(std::uint32_t word, std::uint32_t places) {
    constexpr std::uint32_t kBias = 0x7b807b80;
    return multiply_bf16x2(spread_codes(__byte_perm(word, 0, places)), kBias);
  }

  // The columns of a block come in the order in which a lane's 16-byte loads hold them; split_rows
  // puts the input's columns into the same order.
  __device__ void multiply_expanded(int stage, Sums (&sums)[Config::kBatch]) const {
    constexpr int kSteps = kSumBlock / 16;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int row = static_cast<int>(threadIdx.x) % kWarpgroup / kWarp * 16 + lane / 4;
    std::uint32_t weights[Config::kBatch][kSteps][4];
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) {
      const std::uint8_t* tile = weight_tile(stage, b);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const uint4 codes = *reinterpret_cast<const uint4*>(
              tile + swizzled(row + 8 * h, 64 * half + 16 * (lane % 4)));
          const std::uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            weights[b][4 * half + i][h] = expand(words[i], 0x1404);
            weights[b][4 * half + i][2 + h] = expand(words[i], 0x3424);
          }
        }
      }
    }
    begin_products();
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int b = 0; b < Config::kBatch; ++b) {
        const std::uint64_t inputs = input_tile(stage, 2 * b + s / 4);
        multiply_registers<Bf16, Config::kTokens>(sums[b], weights[b][s], along_k(inputs, s % 4),
                                                  s > 0);
      }
    }
    commit_products();
    await_products<0>();
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) hold(sums[b]);
  }

  __device__ void add_block(float weight_scale, int in_batch, int stage, const Sums& sums,
                            Sums& totals) const {
    if constexpr (Config::kKind == DenseKind::kBf16) {
#pragma unroll
      for (int i = 0; i < Config::kTokens / 2; ++i) totals[i] += sums[i];
      return;
    }
    if constexpr (Config::kKind == DenseKind::kFp8ByBf16) {
#pragma unroll
      for (int i = 0; i < Config::kTokens / 2; ++i) {
        totals[i] = fmaf(sums[i], weight_scale, totals[i]);
      }
    } else {
      const float* scales =
          input_scales_at(stage) + in_batch * Config::kTokens + threadIdx.x % 4 * 2;
#pragma unroll
      for (int j = 0; j < Config::kTokens / 8; ++j) {
        const float2 two = *reinterpret_cast<const float2*>(scales + 8 * j);
        const float low = two.x * weight_scale;
        const float high = two.y * weight_scale;
        totals[4 * j] = fmaf(sums[4 * j], low, totals[4 * j]);
        totals[4 * j + 1] = fmaf(sums[4 * j + 1], high, totals[4 * j + 1]);
        totals[4 * j + 2] = fmaf(sums[4 * j + 2], low, totals[4 * j + 2]);
        totals[4 * j + 3] = fmaf(sums[4 * j + 3], high, totals[4 * j + 3]);
      }
    }
  }

  // A warp writes whole sectors: eight neighbouring outputs of four tokens at a time.
  __device__ void store(const DenseTile& tile, const Sums& totals) const {
    if (!tile.has_rows) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int in_tile = static_cast<int>(threadIdx.x) % kWarpgroup / kWarp * 16 + lane / 4;
    const int n_rows = min(call_.rows, kWeightRows);
    const int token = tile.first_token + lane % 4 * 2;
    const Mat<float>& out = tile.target->out;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = tile.first_row + consumer_ * kWeightRows + in_tile + 8 * h;
      if (in_tile + 8 * h >= n_rows || row >= tile.target->weight.n_out) continue;
#pragma unroll
      for (int i = 0; i < Config::kTokens / 2; ++i) {
        if (i / 2 % 2 != h) continue;
        const int t = token + i / 4 * 8 + i % 2;
        if (t < call_.x.n_tokens) {
          out.data[t * out.stride + row] = round_as(totals[i], call_.rounding);
        }
      }
    }
  }

  const DenseCall& call_;
  std::uint8_t* stages_;
  Barrier* full_;
  Barrier* empty_;
  int n_blocks_;
  int n_batches_;
  int n_row_pieces_;
  int rank_;
  int consumer_;
};

// Planes of the input that hold anything, known to the whole block.
__device__ inline int count_planes(const DenseInput& x) {
  if (x.n_planes == 1) return 1;
  bool any = false;
  for (int i = static_cast<int>(threadIdx.x); i < x.n_flags; i += static_cast<int>(blockDim.x)) {
    any = any || x.is_split[i] != 0;
  }
  return __syncthreads_or(any) ? x.n_planes : 1;
}

template <typename Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    dense_product(const __grid_constant__ DenseCall call) {
  extern __shared__ std::uint8_t dynamic[];
  __shared__ Barrier full[Config::kStages];
  __shared__ Barrier empty[Config::kStages];
  std::uint8_t* stages = dynamic + bytes_to_atom(dynamic);
  const DenseProduct<Config> product(call, stages, full, empty);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  constexpr int kProducerWarp = Config::kConsumers * kWarpgroup / kWarp;

  if (threadIdx.x == 0) product.init_barriers();
  if constexpr (Config::kCluster > 1) {
    sync_cluster();
  } else {
    __syncthreads();
  }
  if (warp == kProducerWarp) product.copy_first_weights();
  begin_kernel();
  const int n_planes = count_planes(call.x);

  if (warp < kProducerWarp) {
    if constexpr (Config::kIsLarge) grow_registers<Config::kConsumerRegisters>();
    product.consume(n_planes);
  } else {
    if constexpr (Config::kIsLarge) shrink_registers<Config::kProducerRegisters>();
    if (warp == kProducerWarp) product.produce(n_planes);
  }
  // Nobody leaves while another block may still copy into its memory or count on its barriers.
  __syncwarp();
  if constexpr (Config::kCluster > 1) sync_cluster();
}

}  // namespace precis::cuda
