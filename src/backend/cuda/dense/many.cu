// FP8 products of many tokens.  Tokens are the 64-row operand: a thread then has two rows of a product,
// whose scales are two numbers a block, where a thread of the other kernels (kernel.cuh) has a pair of
// scales for every four sums.  The chain of sums is theirs.
//
// A persistent block of threads takes tiles of 128 or 256 tokens by 128 rows of a weight.  One warp copies
// operands, two warpgroups multiply, three warps write the results of the tile before from shared memory,
// where they lie as bf16: a product of depth 1024 writes as long as it multiplies.
#include <algorithm>

#include "backend/cuda/dense/config.h"
#include "backend/cuda/dense/many.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "base/check.h"

namespace precis::cuda {
namespace {

template <int kTheTokens>
struct ManyConfig {
  static constexpr int kTokens = kTheTokens;
  static constexpr int kRows = kSumBlock;  // of weights: they have one scale a block
  static constexpr int kCluster = 2;       // blocks of threads that share tokens by multicast
  static constexpr int kConsumers = 2;     // warpgroups
  static constexpr int kParts =
      kTokens / (kConsumers * kWeightRows);  // instructions' 64 tokens each

  static constexpr int kInputBytes = kTokens * kAtomRowBytes;
  static constexpr int kWeightBytes = kRows * kAtomRowBytes;
  static constexpr int kScaleBytes = kTokens * 4;
  static constexpr int kStageBytes =
      kInputBytes + kWeightBytes + (kScaleBytes + 1023) / 1024 * 1024;
  // Rows of results as bf16; 16 bytes more put eight of them into different banks.
  static constexpr int kResultPitch = kRows * 2 + 16;
  static constexpr int kResultBytes = kTokens * kResultPitch;
  static constexpr int kStages = (225 * 1024 - kResultBytes) / kStageBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes + kResultBytes + kAtomBytes;

  static constexpr int kConsumerThreads = kConsumers * kWarpgroup;
  static constexpr int kThreads = kConsumerThreads + kWarpgroup;
  static constexpr int kCopyWarp = kConsumerThreads / kWarp;
  static constexpr int kFirstStoreWarp = kCopyWarp + 1;
  static constexpr int kStoreWarps = kThreads / kWarp - kFirstStoreWarp;
  // Together no more than the block was launched with, or the consumers wait for ever: 168 a thread.
  static constexpr int kConsumerRegisters = 224;
  static constexpr int kOtherRegisters = 56;
};

using Narrow = ManyConfig<128>;
using Wide = ManyConfig<256>;
constexpr int kBand = 8;  // token tiles that are worked through together

template <typename Config>
struct ManyBarriers {
  Barrier full[Config::kStages];
  Barrier empty[Config::kStages];
  Barrier results_full;
  Barrier results_empty;
};

template <typename Config>
class ManyProduct {
 public:
  __device__ ManyProduct(const DenseCall& call, std::uint8_t* shared,
                         ManyBarriers<Config>& barriers)
      : call_(call),
        shared_(shared),
        barriers_(barriers),
        n_blocks_(ceil_div(call.targets[0].weight.n_in, kSumBlock)),
        rank_(cluster_rank()),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        warp_(static_cast<int>(threadIdx.x) / kWarp) {}

  __device__ void init_barriers() const {
    constexpr int kConsumerWarps = Config::kConsumerThreads / kWarp;
    for (int s = 0; s < Config::kStages; ++s) {
      init_barrier(&barriers_.full[s], 1);
      init_barrier(&barriers_.empty[s], kConsumerWarps * Config::kCluster);
    }
    init_barrier(&barriers_.results_full, kConsumerWarps);
    init_barrier(&barriers_.results_empty, Config::kStoreWarps);
    publish_barriers();
  }

  // By one thread.
  __device__ void copy() const {
    RingPlace<Config::kStages> at;
    for (int work = first_work(); work < n_work(); work += n_clusters()) {
      const DenseTile tile = tile_of(work);
      const int first_block = first_input_block(call_, tile, n_blocks_);
      for (int block = 0; block < n_blocks_; ++block, at.advance()) {
        wait(&barriers_.empty[at.stage], at.parity ^ 1);
        Barrier* full = &barriers_.full[at.stage];
        arrive_expecting(full, (tile.has_rows ? Config::kWeightBytes : 0) + Config::kInputBytes +
                                   Config::kScaleBytes);
        if (tile.has_rows) {
          copy_box(weights_at(at.stage), tile.map, block * kSumBlock, tile.first_row, full);
        }
        constexpr int kShare = Config::kInputBytes / Config::kCluster;
        const std::int64_t first =
            static_cast<std::int64_t>(first_block + block) * call_.x.padded_tokens +
            tile.first_token;
        copy_bulk_to_cluster(inputs_at(at.stage) + rank_ * kShare,
                             call_.x.tiles + first * kAtomRowBytes + rank_ * kShare, kShare, full,
                             (1 << Config::kCluster) - 1);
        copy_bulk(scales_at(at.stage), call_.x.scales + first, Config::kScaleBytes, full);
      }
    }
  }

  __device__ void consume() const {
    RingPlace<Config::kStages> at;
    int results_parity = 1;
    if (consumer() == 1) pass_turn();
    std::uint32_t scale = first_work() < n_work() ? weight_scale(tile_of(first_work()), 0) : 0;
    for (int work = first_work(); work < n_work(); work += n_clusters()) {
      const DenseTile tile = tile_of(work);
      float totals[Config::kParts][kSums] = {};
      for (int block = 0; block < n_blocks_; ++block, at.advance()) {
        const float of_weight = e8m0_to_float(static_cast<std::uint8_t>(scale));
        // The next block's is on its way while this one is multiplied.
        if (block + 1 < n_blocks_) {
          scale = weight_scale(tile, block + 1);
        } else if (work + n_clusters() < n_work()) {
          scale = weight_scale(tile_of(work + n_clusters()), 0);
        }
        wait(&barriers_.full[at.stage], at.parity);
        add_block(at.stage, of_weight, totals);
      }
      wait(&barriers_.results_empty, results_parity);
      results_parity ^= 1;
      keep_results(totals);
      __syncwarp();
      if (lane_ == 0) arrive(&barriers_.results_full);
    }
  }

  __device__ void store() const {
    int parity = 0;
    for (int work = first_work(); work < n_work(); work += n_clusters(), parity ^= 1) {
      const DenseTile tile = tile_of(work);
      wait(&barriers_.results_full, parity);
      if (tile.has_rows) store_tile(tile);
      __syncwarp();
      if (lane_ == 0) arrive(&barriers_.results_empty);
    }
  }

 private:
  static constexpr int kSums = Config::kRows / 2;  // a thread's, of 64 tokens

  __device__ int first_work() const { return static_cast<int>(blockIdx.x) / Config::kCluster; }
  __device__ int n_clusters() const { return static_cast<int>(gridDim.x) / Config::kCluster; }
  __device__ int n_row_pieces() const { return ceil_div(call_.n_row_blocks, Config::kCluster); }
  __device__ int n_work() const { return n_row_pieces() * call_.n_token_tiles; }
  __device__ int consumer() const { return warp_ / (kWarpgroup / kWarp); }

  // Bands of token tiles, in which tokens run fastest: blocks that run together read few of both operands.
  __device__ DenseTile tile_of(int work) const {
    const int band_work = kBand * n_row_pieces();
    const int band = work / band_work;
    const int n_tiles = min(kBand, call_.n_token_tiles - band * kBand);
    const int in_band = work - band * band_work;
    return DenseTile(call_, in_band / n_tiles * Config::kCluster + rank_,
                     (band * kBand + in_band % n_tiles) * Config::kTokens);
  }

  __device__ std::uint8_t* inputs_at(int stage) const {
    return shared_ + stage * Config::kStageBytes;
  }
  __device__ std::uint8_t* weights_at(int stage) const {
    return inputs_at(stage) + Config::kInputBytes;
  }
  __device__ float* scales_at(int stage) const {
    return reinterpret_cast<float*>(weights_at(stage) + Config::kWeightBytes);
  }
  __device__ std::uint8_t* results() const {
    return shared_ + Config::kStages * Config::kStageBytes;
  }
  // Of a part's 64 tokens, this thread's first.
  __device__ int first_token(int part) const {
    return (consumer() * Config::kParts + part) * kWeightRows + warp_ % 4 * 16 + lane_ / 4;
  }

  __device__ std::uint32_t weight_scale(const DenseTile& tile, int block) const {
    if (!tile.has_rows) return 0;
    return load_scale(tile.target->weight, tile.first_row, block);
  }

  __device__ void add_block(int stage, float of_weight,
                            float (&totals)[Config::kParts][kSums]) const {
    float scales[Config::kParts][2];
#pragma unroll
    for (int part = 0; part < Config::kParts; ++part) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        scales[part][h] = scales_at(stage)[first_token(part) + 8 * h] * of_weight;
      }
    }
    const std::uint64_t weights = describe(weights_at(stage));
#pragma unroll
    for (int part = 0; part < Config::kParts; ++part) {
      const std::uint64_t tokens = describe(
          inputs_at(stage) + (consumer() * Config::kParts + part) * kWeightRows * kAtomRowBytes);
      float sums[kSums];
      await_turn();
      begin_products();
#pragma unroll
      for (int s = 0; s < kAtomRowBytes / 32; ++s) {
        multiply_tiles<E4m3, Config::kRows>(sums, along_k(tokens, s), along_k(weights, s), s > 0);
      }
      commit_products();
      pass_turn();
      await_products<0>();
      hold(sums);
      if (part == Config::kParts - 1) release(stage);
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        totals[part][i] = fmaf(sums[i], scales[part][i / 2 % 2], totals[part][i]);
      }
    }
  }

  // The warpgroups give the tensor cores their products in turn, so that one adds its sums while the other's
  // are made; side by side both would wait, and then both add.
  __device__ void await_turn() const {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + consumer()), "n"(Config::kConsumerThreads)
                 : "memory");
  }
  __device__ void pass_turn() const {
    asm volatile("bar.arrive %0, %1;" ::"r"(2 - consumer()), "n"(Config::kConsumerThreads)
                 : "memory");
  }

  // Every warp tells both blocks, whose copies fill this stage.
  __device__ void release(int stage) const {
    __syncwarp();
    if (lane_ < Config::kCluster) arrive_at(&barriers_.empty[stage], lane_);
  }

  __device__ void keep_results(const float (&totals)[Config::kParts][kSums]) const {
#pragma unroll
    for (int part = 0; part < Config::kParts; ++part) {
      std::uint8_t* to = results() + first_token(part) * Config::kResultPitch + lane_ % 4 * 4;
#pragma unroll
      for (int i = 0; i < kSums; i += 2) {
        *reinterpret_cast<std::uint32_t*>(to + i / 4 * 16 + i / 2 % 2 * 8 * Config::kResultPitch) =
            pack_bf16(totals[part][i], totals[part][i + 1]);
      }
    }
  }

  // A warp writes the tile's part of a token's outputs, a lane four of them.
  __device__ void store_tile(const DenseTile& tile) const {
    const Mat<float>& out = tile.target->out;
    const int row = tile.first_row + 4 * lane_;
    const int n_rows = min(4, tile.target->weight.n_out - row);
    const int n_tokens = min(Config::kTokens, call_.x.n_tokens - tile.first_token);
    const bool is_vector =
        n_rows == 4 && out.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(out.data) % 16 == 0;
    const std::uint8_t* from = results() + 8 * lane_;
    float* to = out.data + tile.first_token * out.stride + row;
#pragma unroll 4
    for (int t = warp_ - Config::kFirstStoreWarp; t < n_tokens; t += Config::kStoreWarps) {
      const uint2 bits = *reinterpret_cast<const uint2*>(from + t * Config::kResultPitch);
      const float4 four =
          make_float4(__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000),
                      __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000));
      float* line = to + t * out.stride;
      if (is_vector) {
        __stcs(reinterpret_cast<float4*>(line), four);  // leaves L2 to the operands
      } else {
        const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (i < n_rows) line[i] = values[i];
        }
      }
    }
  }

  const DenseCall& call_;
  std::uint8_t* shared_;
  ManyBarriers<Config>& barriers_;
  int n_blocks_;
  int rank_;
  int lane_;
  int warp_;
};

template <typename Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    many_product(const __grid_constant__ DenseCall call) {
  extern __shared__ std::uint8_t dynamic[];
  __shared__ ManyBarriers<Config> barriers;
  const ManyProduct<Config> product(call, dynamic + bytes_to_atom(dynamic), barriers);
  if (threadIdx.x == 0) product.init_barriers();
  sync_cluster();
  begin_kernel();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp < Config::kCopyWarp) {
    grow_registers<Config::kConsumerRegisters>();
    product.consume();
  } else {
    shrink_registers<Config::kOtherRegisters>();
    if (warp >= Config::kFirstStoreWarp) {
      product.store();
    } else if (threadIdx.x % kWarp == 0) {
      product.copy();
    }
  }
  // Nobody leaves while the other block may still copy into its memory or count on its barriers.
  __syncwarp();
  sync_cluster();
}

template <typename Config>
void launch(Device& device, DenseCall& call) {
  call.n_token_tiles = ceil_div(call.x.n_tokens, Config::kTokens);
  for (int t = 0; t < call.n_targets; ++t) {
    call.maps[t] = map_of(call.targets[t].weight, Config::kRows);
  }
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      many_product<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes));
  const int n_work = ceil_div(call.n_row_blocks, Config::kCluster) * call.n_token_tiles;
  const int n_clusters = std::min(n_work, device.n_multiprocessors / Config::kCluster);
  launch_overlapping(device, many_product<Config>,
                     dim3(static_cast<unsigned>(n_clusters * Config::kCluster)), Config::kThreads,
                     Config::kSharedBytes, Config::kCluster, call);
}

}  // namespace

bool fits_many(const DenseCall& call) {
  // The blocks of a cluster share their inputs, which are those of one group.
  constexpr int kClusterRows = Narrow::kCluster * Narrow::kRows;
  return call.n_groups == 1 || call.targets[0].weight.n_out / call.n_groups % kClusterRows == 0;
}

void multiply_many(Device& device, DenseCall& call) {
  PRECIS_CHECK(call.rounding == Rounding::kBf16);
  cut_rows(call, Narrow::kRows);
  const auto rounds = [&](int tokens) {
    const int n_pairs = ceil_div(call.n_row_blocks, Narrow::kCluster);
    return ceil_div(n_pairs * ceil_div(call.x.n_tokens, tokens),
                    device.n_multiprocessors / Narrow::kCluster);
  };
  // A wide tile takes less than two narrow ones: it reads its weights once.
  constexpr double kWideCost = 1.7;
  if (rounds(Wide::kTokens) * kWideCost <= rounds(Narrow::kTokens)) {
    launch<Wide>(device, call);
  } else {
    launch<Narrow>(device, call);
  }
}

}  // namespace precis::cuda
