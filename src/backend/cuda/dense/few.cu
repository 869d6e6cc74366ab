// FP8 products of a few tokens: bound by the bytes of the weight, and by what happens before the first of
// them arrive.
//
// A block of threads keeps little enough shared memory that a block of the next product fits beside it:
// that one asks for its first weights while this one ends.  A warp has the ring filled with weights, eight
// quantise the input, once for all the block's tiles, and four multiply what is there of both.
//
// In shared memory a block of 128 codes is eight pieces of 16 bytes of every token, one behind the other:
// operand B without a swizzle, whose two pieces of a step are 16 bytes times the tokens apart.  Columns
// beyond the tokens are whatever follows, and are not stored.
#include <algorithm>

#include "backend/cuda/dense/call.cuh"
#include "backend/cuda/dense/config.h"
#include "backend/cuda/dense/few.h"
#include "backend/cuda/dense/quantise.cuh"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kColumns = 8;         // of an instruction: tokens
constexpr int kMaxValues = 16'384;  // of an input
constexpr int kPieceBytes = 16;
constexpr int kMaxUnits = kMaxValues / kSumBlock;
// A unit is a block of 128 values of a token.  Eight warps take one each in turn, and report every two.
constexpr int kQuantiserWarps = 8;
constexpr int kUnitsInFlight = 8;
constexpr int kUnitsOfReport = 2 * kQuantiserWarps;
constexpr int kReports = kMaxUnits / kUnitsOfReport;

constexpr int kMaxBatch = 4;

template <int kTheRows>
struct FewConfig {
  static constexpr int kRows = kTheRows;  // of weights, of the 64 that an instruction takes
  static constexpr int kTileBytes = kRows * kAtomRowBytes;
  // Blocks along k of a stage, which is waited for as a whole.
  static constexpr int kBatch = std::min(16 * 1024 / kTileBytes, kMaxBatch);
  static constexpr int kStageBytes = kBatch * kTileBytes;
  static constexpr int kStages = 88 * 1024 / kStageBytes;
  // An instruction reads 64 rows from the last tile too: the codes lie behind the ring.
  // Behind them lies what the last batch reads beyond the last block, and the last token's other columns.
  static constexpr int kCodeBytes = kMaxValues + kMaxBatch * kColumns * kSumBlock;
  static_assert(kCodeBytes >= kWeightRows * kAtomRowBytes);
  static constexpr int kSharedBytes = kStages * kStageBytes + kCodeBytes + kAtomBytes;
  static constexpr int kConsumerWarps = kWarpgroup / kWarp;
  static constexpr int kCopyWarp = kConsumerWarps + kQuantiserWarps;
  static constexpr int kThreads = (kCopyWarp + 1) * kWarp;
  static_assert(kSharedBytes <= 110 * 1024, "two blocks fit a multiprocessor");
};

template <typename Config>
struct FewShared {
  Barrier full[Config::kStages];
  Barrier empty[Config::kStages];
  Barrier quantised[kReports];
  float scales[kMaxUnits];
};

struct FewCall {
  DenseCall dense;
  Mat<const float> x;
  bool allows_at_once;  // the next kernel, which waits by itself for all that came before
};

// The descriptor of operand B without a swizzle, from 16-byte piece `first` of shared memory on; pieces
// along k are `step` pieces apart.
__device__ std::uint64_t describe_pieces(std::uint32_t first, int step) {
  constexpr std::uint64_t kUnused = std::uint64_t{8} << 32;  // between groups of eight columns
  return kUnused | (first | static_cast<std::uint32_t>(step) << 16);
}

template <typename Config>
class FewProduct {
 public:
  __device__ FewProduct(const FewCall& call, std::uint8_t* ring, FewShared<Config>& shared)
      : call_(call.dense),
        x_(call.x),
        ring_(ring),
        codes_(ring + Config::kStages * Config::kStageBytes),
        shared_(shared),
        n_tokens_(static_cast<int>(call.x.rows)),
        n_blocks_(ceil_div(call.dense.targets[0].weight.n_in, kSumBlock)),
        n_batches_((n_blocks_ + Config::kBatch - 1) / Config::kBatch),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        warp_(static_cast<int>(threadIdx.x) / kWarp) {}

  __device__ void init_barriers() const {
    for (int s = 0; s < Config::kStages; ++s) {
      init_barrier(&shared_.full[s], 1);
      init_barrier(&shared_.empty[s], Config::kConsumerWarps);
    }
    for (Barrier& barrier : shared_.quantised) init_barrier(&barrier, kQuantiserWarps);
    publish_barriers();
  }

  // A warp's work, a lane a tile.
  __device__ void copy_weights() const {
    RingPlace<Config::kStages> at;
    for (int work = first_work(); work < n_work(); work += n_workers()) {
      const DenseTile tile(call_, work, 0);
      for (int batch = 0; batch < n_batches_; ++batch, at.advance()) {
        wait(&shared_.empty[at.stage], at.parity ^ 1);
        const int n_blocks = blocks_of(batch);
        // Rows and columns beyond the weight count, and arrive as zeros.
        if (lane_ == 0) arrive_expecting(&shared_.full[at.stage], n_blocks * Config::kTileBytes);
        __syncwarp();
        if (lane_ < n_blocks) {
          copy_box(ring_ + at.stage * Config::kStageBytes + lane_ * Config::kTileBytes, tile.map,
                   (batch * Config::kBatch + lane_) * kSumBlock, tile.first_row,
                   &shared_.full[at.stage]);
        }
      }
    }
  }

  // Units in ascending order, several of each warp asked for at a time.
  __device__ void quantise() const {
    const int n = n_tokens_ * n_blocks_;
    const int warp = warp_ - Config::kConsumerWarps;
    for (int first = 0; first < n; first += kUnitsInFlight * kQuantiserWarps) {
      float values[kUnitsInFlight][kPerLane];
#pragma unroll
      for (int i = 0; i < kUnitsInFlight; ++i) {
        const int unit = min(first + i * kQuantiserWarps + warp, n - 1);
        const int column = unit / n_tokens_ * kSumBlock;
        load_block(x_, unit % n_tokens_, column, static_cast<int>(x_.cols) - column, values[i]);
      }
#pragma unroll
      for (int i = 0; i < kUnitsInFlight; ++i) {
        const int unit = first + i * kQuantiserWarps + warp;  // block · tokens + token
        if (unit < n) keep(unit, values[i]);
        if (i % 2 == 0) continue;
        publish_shared();
        __syncwarp();
        if (lane_ == 0) arrive(&shared_.quantised[unit / kUnitsOfReport]);
      }
    }
  }

  // The scales of the first weights are asked for before the wait for the input, those of each batch while
  // the one before it is multiplied.
  __device__ void consume() const {
    RingPlace<Config::kStages> at;
    ScaleBytes next = {};
    if (first_work() < n_work()) load_scales(DenseTile(call_, first_work(), 0), 0, next);
    begin_kernel();
    int n_reports = 0;
    for (int work = first_work(); work < n_work(); work += n_workers()) {
      const DenseTile tile(call_, work, 0);
      float totals[kSums] = {};
      for (int batch = 0; batch < n_batches_; ++batch, at.advance()) {
        float scales[Config::kBatch];
#pragma unroll
        for (int b = 0; b < Config::kBatch; ++b) {
          scales[b] = e8m0_to_float(static_cast<std::uint8_t>(next[b]));
        }
        if (batch + 1 < n_batches_) {
          load_scales(tile, batch + 1, next);
        } else if (work + n_workers() < n_work()) {
          load_scales(DenseTile(call_, work + n_workers(), 0), 0, next);
        }
        wait(&shared_.full[at.stage], at.parity);
        const int n_units = (batch * Config::kBatch + blocks_of(batch)) * n_tokens_;
        for (; n_reports * kUnitsOfReport < n_units; ++n_reports) {
          wait(&shared_.quantised[n_reports], 0);
        }
        add_batch(batch, at.stage, scales, totals);
      }
      store(tile, totals);
    }
  }

 private:
  static constexpr int kSums = kColumns / 2;
  using ScaleBytes = std::uint32_t[Config::kBatch];

  __device__ void keep(int unit, const float (&values)[kPerLane]) const {
    float scale;
    const std::uint32_t codes = quantise_block(values, scale);
    const int piece = (unit / n_tokens_ * 8 + lane_ / 4) * n_tokens_ + unit % n_tokens_;
    *reinterpret_cast<std::uint32_t*>(codes_ + piece * kPieceBytes + lane_ % 4 * 4) = codes;
    if (lane_ == 0) shared_.scales[unit] = scale;
  }

  __device__ int first_work() const {
    return static_cast<int>(blockIdx.x);
  }
  __device__ int n_workers() const {
    return static_cast<int>(gridDim.x);
  }
  __device__ int n_work() const {
    return call_.n_row_blocks;
  }
  __device__ int blocks_of(int batch) const {
    return min(Config::kBatch, n_blocks_ - batch * Config::kBatch);
  }

  __device__ void load_scales(const DenseTile& tile, int batch, ScaleBytes& scales) const {
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) {
      const int block = min(batch * Config::kBatch + b, n_blocks_ - 1);
      scales[b] = load_scale(tile.target->weight, tile.first_row, block);
    }
  }

  __device__ void add_batch(int batch, int stage, const float (&scales)[Config::kBatch],
                            float (&totals)[kSums]) const {
    // Blocks beyond the last are multiplied as the ring holds them, and not added.
    float sums[Config::kBatch][kSums];
    const int n_blocks = blocks_of(batch);
    const std::uint32_t inputs = shared_address(codes_) / kPieceBytes;
    begin_products();
    // The blocks of a batch in turn: a product does not wait for the one that it adds to.
#pragma unroll
    for (int s = 0; s < kSumBlock / 32; ++s) {
#pragma unroll
      for (int b = 0; b < Config::kBatch; ++b) {
        const std::uint64_t weights =
            describe(ring_ + stage * Config::kStageBytes + b * Config::kTileBytes);
        const int piece = (batch * Config::kBatch + b) * 8 + 2 * s;
        multiply_tiles<E4m3, kColumns>(sums[b], along_k(weights, s),
                                       describe_pieces(inputs + piece * n_tokens_, n_tokens_),
                                       s > 0);
      }
    }
    commit_products();
    await_products<0>();
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) hold(sums[b]);
    __syncwarp();
    if (lane_ == 0) arrive(&shared_.empty[stage]);
#pragma unroll
    for (int b = 0; b < Config::kBatch; ++b) {
      if (b >= n_blocks) break;
      const int block = batch * Config::kBatch + b;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = min(lane_ % 4 * 2 + i, n_tokens_ - 1);
        const float scale = shared_.scales[block * n_tokens_ + token] * scales[b];
        totals[i] = fmaf(sums[b][i], scale, totals[i]);
        totals[2 + i] = fmaf(sums[b][2 + i], scale, totals[2 + i]);
      }
    }
  }

  __device__ void store(const DenseTile& tile, const float (&totals)[kSums]) const {
    const Mat<float>& out = tile.target->out;
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int token = lane_ % 4 * 2 + i % 2;
      const int in_tile = warp_ * 16 + lane_ / 4 + i / 2 * 8;
      const int row = tile.first_row + in_tile;
      if (token >= n_tokens_ || in_tile >= Config::kRows || row >= tile.target->weight.n_out) {
        continue;
      }
      out.data[token * out.stride + row] = round_as(totals[i], Rounding::kBf16);
    }
  }

  const DenseCall& call_;
  const Mat<const float>& x_;
  std::uint8_t* ring_;
  std::uint8_t* codes_;
  FewShared<Config>& shared_;
  int n_tokens_;
  int n_blocks_;
  int n_batches_;
  int lane_;
  int warp_;
};

template <typename Config>
__global__ void __launch_bounds__(Config::kThreads, 2)
    few_product(const __grid_constant__ FewCall call) {
  extern __shared__ std::uint8_t dynamic[];
  __shared__ FewShared<Config> shared;
  const FewProduct<Config> product(call, dynamic + bytes_to_atom(dynamic), shared);
  if (threadIdx.x == 0) product.init_barriers();
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp == Config::kCopyWarp) {
    if (call.allows_at_once) allow_next_kernel();
    // Weights are no earlier kernel's work.
    product.copy_weights();
    await_earlier_kernels();
  } else if (warp < Config::kConsumerWarps) {
    product.consume();
  } else {
    begin_kernel();
    product.quantise();
  }
}

template <typename Config>
void launch(Device& device, FewCall& call) {
  for (int t = 0; t < call.dense.n_targets; ++t) {
    call.dense.maps[t] = map_of(call.dense.targets[t].weight, Config::kRows);
  }
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      few_product<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes));
  const int n_blocks = std::min(call.dense.n_row_blocks, device.n_multiprocessors);
  launch_overlapping(device, few_product<Config>, dim3(static_cast<unsigned>(n_blocks)),
                     Config::kThreads, Config::kSharedBytes, 1, call);
}

}  // namespace

bool fits_few(Mat<const float> x) {
  return x.rows <= kColumns && x.rows * round_up(x.cols, kSumBlock) <= kMaxValues;
}

void multiply_few(Device& device, Mat<const float> x, std::span<const DenseTarget> targets) {
  PRECIS_CHECK(fits_few(x));
  for (std::size_t begin = 0; begin < targets.size(); begin += kMaxTargets) {
    const auto part =
        targets.subspan(begin, std::min<std::size_t>(kMaxTargets, targets.size() - begin));
    FewCall call{};
    call.x = x;
    std::ranges::copy(part, call.dense.targets);
    call.dense.n_targets = static_cast<int>(part.size());
    call.dense.n_groups = 1;
    cut_rows(call.dense, choose_rows(device, part, 1));
    // Measured: blocks of several tiles gain a tenth, others lose as much.
    call.allows_at_once = call.dense.n_row_blocks > device.n_multiprocessors;
    switch (call.dense.rows) {
      case 8: launch<FewConfig<8>>(device, call); break;
      case 16: launch<FewConfig<16>>(device, call); break;
      case 32: launch<FewConfig<32>>(device, call); break;
      default: launch<FewConfig<64>>(device, call);
    }
  }
}

}  // namespace precis::cuda
