// The kernel behind the experts: hidden values of all rows, then outputs, in one persistent launch.
//
// Weights are the 64-row operand of wgmma, expanded into registers; rows of tokens are its columns, 8 to
// 128 of them.  An output is, for every number of columns, the same chain: 128 terms of k by four
// instructions, then one f32 multiply-add into its total.  Byte and cycle counts:
// docs/kernels/cuda_experts.md.
#include <algorithm>

#include "backend/cuda/experts/config.cuh"
#include "backend/cuda/experts/mixture.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/numbers.cuh"

namespace precis::cuda {
namespace {

// ---- Copies.

// 128 codes of each of 64 rows that are `n_in` apart, by a warp; eight lanes take a row.
__device__ void copy_fp8_rows(std::uint8_t* to, int pitch, const std::uint8_t* from, int n_in) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int kRowsAtOnce = kWarp / 8;
  to += lane / 8 * pitch + lane % 8 * 16;
  from += lane / 8 * n_in + lane % 8 * 16;
  // Unrolled further, as many addresses would be kept, in more registers than this warp has.
#pragma unroll 4
  for (int r = 0; r < kBlockRows; r += kRowsAtOnce, from += kRowsAtOnce * n_in) {
    copy_async(to + r * pitch, from);
  }
}

template <int kMaxRows>
__device__ void copy_weights(const MixtureArgs& args, MixtureShared<kMaxRows>& shared) {
  using Config = MixtureConfig<kMaxRows>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  RingPlace<Config::kStages> at;
  for (int phase = 0; phase < 2; ++phase) {
    Pieces pieces(args, phase);
    for (Piece piece; pieces.next(piece);) {
      const int n_blocks = (phase == 0 ? args.width : args.hidden_width) / kDepth;
      // A stage has two blocks of 64 rows, of which lanes of the lower half copy the first where it is FP4.
      const auto view_of_half = [&](int half) -> const WeightView& {
        return (phase == 1 ? args.w2 : half == 0 ? args.w1 : args.w3)[piece.rows.weight];
      };
      const auto first_row = [&](int half) {
        return piece.item * kDepth + (phase == 0 ? cluster_rank() : half) * kBlockRows;
      };
      const int half = lane / 16;
      const bool is_fp8 = view_of_half(0).format == WeightFormat::kFp8Block;
      const std::uint8_t* codes = view_of_half(half).codes;
      const std::uint8_t* fp8_codes[2];
      for (int h = 0; h < 2; ++h) {
        fp8_codes[h] =
            view_of_half(h).codes + static_cast<std::int64_t>(first_row(h)) * n_blocks * kDepth;
      }
      for (int block = 0; block < n_blocks; ++block, at.advance()) {
        wait(&shared.empty[at.stage], at.parity ^ 1);
        std::uint8_t* to = shared.weights[at.stage];
        Barrier* full = &shared.full[at.stage];
        if (is_fp8) {
          for (int h = 0; h < 2; ++h) {
            copy_fp8_rows(to + h * Config::kFp8BlockBytes, Config::kFp8Pitch,
                          fp8_codes[h] + block * kDepth, n_blocks * kDepth);
          }
          delay_until_copied(full);
          __syncwarp();
          if (lane == 0) arrive(full);
        } else {
          if (lane == 0) arrive_expecting(full, 2 * kBlockBytes);
          __syncwarp();
          if (lane % 16 == 0) {
            const std::int64_t index =
                static_cast<std::int64_t>(first_row(half) / kBlockRows) * n_blocks + block;
            copy_bulk(to + half * kBlockBytes, codes + index * kBlockBytes, kBlockBytes, full);
          }
        }
      }
    }
  }
}

// Hidden rows are complete when each 64 of their values have been reported.
__device__ void await_hidden(const MixtureArgs& args, int tile) {
  const int want = args.hidden_width / kBlockRows;
  int have = 0;
  while (have < want) {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];"
                 : "=r"(have)
                 : "l"(args.plan.finished + tile)
                 : "memory");
  }
  asm volatile("fence.proxy.async;" ::: "memory");  // they were written by ordinary stores
}

template <int kMaxRows>
__device__ void copy_rows(const MixtureArgs& args, MixtureShared<kMaxRows>& shared) {
  using Config = MixtureConfig<kMaxRows>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  RingPlace<Config::kStages> at;
  for (int phase = 0; phase < 2; ++phase) {
    const QuantisedRows& rows = phase == 0 ? args.x : args.hidden;
    Pieces pieces(args, phase);
    for (Piece piece; pieces.next(piece);) {
      if (phase == 1) await_hidden(args, piece.tile);
      const int n_units = (piece.rows.n + kUnitRows - 1) / kUnitRows;
      for (int block = 0; block < rows.n_blocks; ++block, at.advance()) {
        wait(&shared.empty[at.stage], at.parity ^ 1);
        Barrier* full = &shared.full[at.stage];
        if (lane == 0) arrive_expecting(full, n_units * (kAtomBytes + kUnitRows * 4));
        __syncwarp();
        const int unit = lane / 2;
        if (unit >= n_units) continue;
        if (Config::kSharesRows && unit % 2 != cluster_rank()) continue;
        const auto copy = [&](void* to, const void* from, int n_bytes) {
          if constexpr (Config::kSharesRows) {
            copy_bulk_to_cluster(to, from, n_bytes, full, 0b11);
          } else {
            copy_bulk(to, from, n_bytes, full);
          }
        };
        const std::int64_t atom = rows.atom(piece.rows.begin + unit * kUnitRows, block);
        if (lane % 2 == 0) {
          copy(shared.rows[at.stage] + unit * kAtomBytes, rows.codes + atom * kAtomBytes,
               kAtomBytes);
        } else {
          copy(shared.scales[at.stage] + unit * kUnitRows, rows.scales + atom * kUnitRows,
               kUnitRows * 4);
        }
      }
    }
  }
}

// ---- Products.

/// Which units of a stage's two blocks are rows 0 … 7 and 8 … 15 of a warp.
struct WarpUnits {
  int low_block;
  int low_unit;
  int high_block;
  int high_unit;
};

using Fragments = std::uint32_t[kDepth / 32][4];  // of wgmma's operand A: four instructions

// Eight e4m3 codes from a packed word: the low four and the high four.
__device__ __forceinline__ void expand(std::uint32_t word, uint2 table, std::uint32_t& low,
                                       std::uint32_t& high) {
  constexpr std::uint32_t kSigns = 0x80808080;
  const std::uint32_t magnitudes = word & 0x77777777;
  low = __byte_perm(table.x, table.y, magnitudes) | (word & kSigns);
  high = __byte_perm(table.x, table.y, magnitudes >> 16) | (word << 4 & kSigns);
}

template <bool kIsFp8>
__device__ __forceinline__ void load_fragments(const std::uint8_t* stage, const WarpUnits& units,
                                               const uint2* expansion, Fragments& a) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (kIsFp8) {
    using Config = MixtureConfig<8>;  // the pitch is that of every size
    const auto row = [&](int block, int unit) {
      return reinterpret_cast<const uint4*>(stage + block * Config::kFp8BlockBytes +
                                            (unit * kUnitRows + lane / 4) * Config::kFp8Pitch +
                                            lane % 4 * 32);
    };
    const uint4* low = row(units.low_block, units.low_unit);
    const uint4* high = row(units.high_block, units.high_unit);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 l = low[i];
      const uint4 h = high[i];
      a[2 * i][0] = l.x, a[2 * i][2] = l.y, a[2 * i + 1][0] = l.z, a[2 * i + 1][2] = l.w;
      a[2 * i][1] = h.x, a[2 * i][3] = h.y, a[2 * i + 1][1] = h.z, a[2 * i + 1][3] = h.w;
    }
  } else {
    const std::uint8_t* low_block = stage + units.low_block * kBlockBytes;
    const std::uint8_t* high_block = stage + units.high_block * kBlockBytes;
    const uint4 low = reinterpret_cast<const uint4*>(low_block + units.low_unit * kUnitBytes)[lane];
    const uint4 high =
        reinterpret_cast<const uint4*>(high_block + units.high_unit * kUnitBytes)[lane];
    const int low_shift = low_block[kBlockCodeBytes + units.low_unit * kWarp + lane];
    const int high_shift = high_block[kBlockCodeBytes + units.high_unit * kWarp + lane];
    const uint2 low_table = expansion[low_shift / 8];
    const uint2 high_table = expansion[high_shift / 8];
    const std::uint32_t low_words[4] = {low.x, low.y, low.z, low.w};
    const std::uint32_t high_words[4] = {high.x, high.y, high.z, high.w};
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      expand(low_words[s], low_table, a[s][0], a[s][2]);
      expand(high_words[s], high_table, a[s][1], a[s][3]);
    }
  }
}

// Scales of an FP8 weight's blocks along k, for the 128 rows of a piece, spread over a warp.
struct BlockScales {
  float first = 0;
  float second = 0;

  BlockScales() = default;
  __device__ BlockScales(const WeightView& view, int row) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::uint8_t* scales =
        view.scales + static_cast<std::int64_t>(row / kDepth) * view.scale_cols;
    if (lane < view.scale_cols) first = e8m0_to_float(scales[lane]);
    if (lane + kWarp < view.scale_cols) second = e8m0_to_float(scales[lane + kWarp]);
  }
  __device__ float of(int block) const {
    return __shfl_sync(0xffffffff, block < kWarp ? first : second, block % kWarp);
  }
};

template <int kMaxRows>
struct Consumer {
  using Config = MixtureConfig<kMaxRows>;

  const MixtureArgs& args;
  MixtureShared<kMaxRows>& shared;
  RingPlace<Config::kStages> at;
  int n_exchanged = 0;
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int warp = static_cast<int>(threadIdx.x) / kWarp;

  __device__ Consumer(const MixtureArgs& a, MixtureShared<kMaxRows>& s) : args(a), shared(s) {}

  __device__ static void sync() {
    __syncwarp();
    asm volatile("bar.sync 1, %0;" ::"n"(Config::kConsumers) : "memory");
  }

  // One stage: its products, while the fragments of the next are made.
  template <int kN, bool kIsFp8>
  __device__ __forceinline__ void multiply_stage(const Fragments& a, Fragments& next, bool has_next,
                                                 const WarpUnits& units, float low_scale,
                                                 float high_scale, float (&sums)[kN / 2],
                                                 float (&totals)[kN / 2]) {
    const int stage = at.stage;
    const std::uint64_t rows = describe(shared.rows[stage]);
    hold(sums);
    begin_products();
#pragma unroll
    for (int s = 0; s < kDepth / 32; ++s) {
      multiply_registers<E4m3, kN>(sums, a[s], along_k(rows, s), s > 0);
    }
    commit_products();
    at.advance();
    if (has_next) {
      wait(&shared.full[at.stage], at.parity);
      load_fragments<kIsFp8>(shared.weights[at.stage], units, shared.expansion, next);
    }
    await_products<0>();
    hold(sums);
    const float* scales = shared.scales[stage] + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float2 scale = *reinterpret_cast<const float2*>(scales + 8 * j);
      const float columns[2] = {scale.x, scale.y};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float factor = columns[i % 2];
        if constexpr (kIsFp8) factor *= i < 2 ? low_scale : high_scale;
        totals[4 * j + i] = fmaf(sums[4 * j + i], factor, totals[4 * j + i]);
      }
    }
    __syncwarp();
    if (lane == 0) arrive(&shared.empty[stage]);
    if (Config::kSharesRows && lane == 1) arrive_at(&shared.empty[stage], cluster_rank() ^ 1);
  }

  // totals = this warp's 16 rows of weights times the piece's rows.
  template <int kN, bool kIsFp8>
  __device__ __forceinline__ void multiply(int n_blocks, const WarpUnits& units,
                                           const BlockScales& low, const BlockScales& high,
                                           float (&totals)[kN / 2]) {
    float sums[kN / 2];
    Fragments a;
    Fragments b;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) totals[i] = sums[i] = 0;
    wait(&shared.full[at.stage], at.parity);
    load_fragments<kIsFp8>(shared.weights[at.stage], units, shared.expansion, a);
    const auto scale = [&](const BlockScales& scales, int block) {
      return kIsFp8 ? scales.of(block) : 1.0f;
    };
    for (int block = 0; block < n_blocks; block += 2) {
      multiply_stage<kN, kIsFp8>(a, b, block + 1 < n_blocks, units, scale(low, block),
                                 scale(high, block), sums, totals);
      if (block + 1 == n_blocks) break;
      multiply_stage<kN, kIsFp8>(b, a, block + 2 < n_blocks, units, scale(low, block + 1),
                                 scale(high, block + 1), sums, totals);
    }
  }

  // The largest magnitude of each column in the other block of the cluster; `mine` is sent to it.
  template <int kN>
  __device__ std::uint32_t exchange(std::uint32_t mine, int column) {
    const int turn = n_exchanged % 2;
    if (column < kN) {
      asm volatile(
          "{\n.reg .b32 value, barrier;\n"
          "mapa.shared::cluster.u32 value, %0, %2;\n"
          "mapa.shared::cluster.u32 barrier, %1, %2;\n"
          "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [value], %3, [barrier];\n}" ::
              "r"(shared_address(&shared.peer_max[turn][column])),
          "r"(shared_address(&shared.peer[turn])), "r"(cluster_rank() ^ 1), "r"(mine)
          : "memory");
      wait(&shared.peer[turn], n_exchanged / 2 % 2);
    }
    ++n_exchanged;
    return column < kN ? shared.peer_max[turn][column] : 0;
  }

  // SwiGLU of gate and up, quantised; a thread holds both of one hidden channel for kN / 4 rows.
  template <int kN>
  __device__ __forceinline__ void write_hidden(const Piece& piece, float gate_scale, float up_scale,
                                               float (&totals)[kN / 2]) {
    const int thread = static_cast<int>(threadIdx.x);
    const int rank = cluster_rank();
    const int group = lane / 4;
    const float* weights = args.plan.row_weight + piece.rows.begin + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float weight = weights[8 * j + i];
        float gate = to_bf16(totals[4 * j + i] * gate_scale);
        float up = to_bf16(totals[4 * j + 2 + i] * up_scale);
        gate = gate > args.limit ? args.limit : gate;
        up = up > args.limit ? args.limit : up < -args.limit ? -args.limit : up;
        // Two units in f32's last place off at most, far below the rounding to bf16.
        const float silu = __fdividef(gate, 1.0f + __expf(-gate));
        totals[4 * j + i] = to_bf16(weight * silu * up);
        std::uint32_t magnitude = __float_as_uint(totals[4 * j + i]) & 0x7fffffff;
        for (int step = 4; step < kWarp; step *= 2) {
          magnitude = max(magnitude, __shfl_xor_sync(0xffffffff, magnitude, step));
        }
        if (group == 0) shared.warp_max[warp][8 * j + lane * 2 + i] = magnitude;
      }
    }
    if (thread == 0) arrive_expecting(&shared.peer[n_exchanged % 2], kN * 4);
    sync();
    std::uint32_t magnitude = 0;
    if (thread < kN) {
      for (const auto& values : shared.warp_max) magnitude = max(magnitude, values[thread]);
    }
    magnitude = max(magnitude, exchange<kN>(magnitude, thread));
    if (thread < kN) {
      const float scale = activation_scale(magnitude);
      shared.inverse[thread] = 1.0f / scale;
      if (rank == 0 && thread < piece.rows.n) {
        *args.hidden.scale(piece.rows.begin + thread, piece.item) = scale;
      }
    }
    sync();
    // Word (unit / 4) of the block's half of 16-byte piece 2 · (unit % 4) + group / 4.
    const int at_piece = warp % 4 * 2 + group / 4;
    const int at_byte = warp / 4 * 4 + group % 4;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * j + lane % 4 * 2 + i;
        const __nv_fp8_storage_t code = __nv_cvt_float_to_fp8(
            totals[4 * j + i] * shared.inverse[column], __NV_SATFINITE, __NV_E4M3);
        shared.staging[column * kBlockRows + (at_piece ^ column % 8) * 8 + at_byte] = code;
      }
    }
    sync();
    for (int i = thread; i < kN * 8; i += Config::kConsumers) {
      if (i / 8 >= piece.rows.n) break;
      std::uint8_t* to = args.hidden.row(piece.rows.begin + i / 8, piece.item) +
                         i / 8 % kUnitRows * kAtomRowBytes + i % 8 * 16 + rank * 8;
      *reinterpret_cast<uint2*>(to) = reinterpret_cast<const uint2*>(shared.staging)[i];
    }
    asm volatile("fence.proxy.async;" ::: "memory");  // bulk copies will read them
    __threadfence();
    sync();
    if (thread == 0) {
      asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(args.plan.finished + piece.tile)
                   : "memory");
    }
  }

  // Outputs as bf16, turned so that a row's 128 are neighbours.
  template <int kN>
  __device__ __forceinline__ void write_outputs(const Piece& piece, float low_scale,
                                                float high_scale, const float (&totals)[kN / 2]) {
    sync();
#pragma unroll
    for (int j = 0; j < kN / 8; j += 2) {
      const auto matrix = [&](int k, bool is_high) {
        const float* values = totals + 4 * k + (is_high ? 2 : 0);
        const float scale = is_high ? high_scale : low_scale;
        return pack_bf16(values[0] * scale, values[1] * scale);
      };
      const int column = 8 * (j + lane / 16) + lane % 8;
      const int at_piece = warp * 2 + lane / 8 % 2;
      const std::uint32_t to =
          shared_address(shared.staging + column * 256 + (at_piece ^ column % 8) * 16);
      if constexpr (kN == 8) {
        asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(to),
                     "r"(matrix(j, false)), "r"(matrix(j, true))
                     : "memory");
      } else {
        asm volatile(
            "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
            "r"(matrix(j, false)), "r"(matrix(j, true)), "r"(matrix(j + 1, false)),
            "r"(matrix(j + 1, true))
            : "memory");
      }
    }
    sync();
    for (int i = static_cast<int>(threadIdx.x); i < kN * 16; i += Config::kConsumers) {
      const int column = i / 16;
      if (column >= piece.rows.n) break;
      const uint4 eight = *reinterpret_cast<const uint4*>(shared.staging + column * 256 +
                                                          (i % 16 ^ column % 8) * 16);
      *reinterpret_cast<uint4*>(args.outputs +
                                static_cast<std::int64_t>(piece.rows.begin + column) * args.width +
                                piece.item * kDepth + i % 16 * 8) = eight;
    }
  }

  template <int kN, bool kIsFp8>
  __device__ __forceinline__ void run_piece(int phase, const Piece& piece) {
    const int group = lane / 4;
    const WarpUnits units = phase == 0
                                ? WarpUnits{0, warp, 1, warp}
                                : WarpUnits{warp / 4, warp % 4 * 2, warp / 4, warp % 4 * 2 + 1};
    const WeightView& low_view = (phase == 0 ? args.w1 : args.w2)[piece.rows.weight];
    const WeightView& high_view = (phase == 0 ? args.w3 : args.w2)[piece.rows.weight];
    const int low_row = piece.item * kDepth +
                        (phase == 0 ? cluster_rank() * kBlockRows + warp * kUnitRows : warp * 16) +
                        group;
    const int high_row = phase == 0 ? low_row : low_row + kUnitRows;
    float totals[kN / 2];
    float low_scale = 1;
    float high_scale = 1;
    const int n_blocks = (phase == 0 ? args.width : args.hidden_width) / kDepth;
    if constexpr (kIsFp8) {
      const BlockScales low(low_view, low_row);
      const BlockScales high(high_view, high_row);
      multiply<kN, true>(n_blocks, units, low, high, totals);
    } else {
      constexpr float kUnit = 1.0f / (1 << (kMaxShift - kShiftBias));
      low_scale = e8m0_to_float(low_view.scales[low_row]) * kUnit;
      high_scale = e8m0_to_float(high_view.scales[high_row]) * kUnit;
      multiply<kN, false>(n_blocks, units, BlockScales(), BlockScales(), totals);
    }
    if (phase == 0) {
      write_hidden<kN>(piece, low_scale, high_scale, totals);
    } else {
      write_outputs<kN>(piece, low_scale, high_scale, totals);
    }
  }

  template <int kN>
  __device__ __forceinline__ void run_columns(int phase, const Piece& piece) {
    const WeightView* table = phase == 0 ? args.w1 : args.w2;
    if (table[piece.rows.weight].format == WeightFormat::kFp8Block) {
      run_piece<kN, true>(phase, piece);
    } else {
      run_piece<kN, false>(phase, piece);
    }
  }

  __device__ __forceinline__ void run() {
    for (int phase = 0; phase < 2; ++phase) {
      Pieces pieces(args, phase);
      for (Piece piece; pieces.next(piece);) {
        const int n = piece.rows.n;
        if constexpr (kMaxRows <= 32) {
          if (n <= 8) {
            run_columns<8>(phase, piece);
            continue;
          }
        }
        if constexpr (kMaxRows > 8 && kMaxRows <= 64) {
          if (n <= 16) {
            run_columns<16>(phase, piece);
            continue;
          }
        }
        if constexpr (kMaxRows > 16) {
          if (n <= 32) {
            run_columns<32>(phase, piece);
            continue;
          }
        }
        if constexpr (kMaxRows > 32) {
          if (n <= 64) {
            run_columns<64>(phase, piece);
            continue;
          }
        }
        if constexpr (kMaxRows > 64) {
          if (n <= 80) {
            run_columns<80>(phase, piece);
          } else if (n <= 96) {
            run_columns<96>(phase, piece);
          } else if (n <= 112) {
            run_columns<112>(phase, piece);
          } else {
            run_columns<128>(phase, piece);
          }
        }
      }
    }
  }
};

template <int kMaxRows>
__global__ void __launch_bounds__(MixtureConfig<kMaxRows>::kThreads, 1)
    mixture_kernel(const __grid_constant__ MixtureArgs args) {
  using Config = MixtureConfig<kMaxRows>;
  extern __shared__ std::uint8_t memory[];
  auto& shared = *reinterpret_cast<MixtureShared<kMaxRows>*>(memory + bytes_to_atom(memory));
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int s = 0; s < Config::kStages; ++s) {
      init_barrier(&shared.full[s], 2);
      init_barrier(&shared.empty[s], Config::kConsumerWarps * (Config::kSharesRows ? 2 : 1));
    }
    for (Barrier& barrier : shared.peer) init_barrier(&barrier, 1);
    publish_barriers();
  }
  if (thread < (kMaxShift + 1) * 8) {
    const float value =
        e2m1_to_float(thread % 8) * exp2f(static_cast<float>(thread / 8 - kShiftBias));
    reinterpret_cast<std::uint8_t*>(shared.expansion)[thread] =
        __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
  }
  __syncthreads();
  sync_cluster();
  allow_next_kernel();

  constexpr bool kMovesRegisters = kMaxRows > 64;
  if (thread >= Config::kConsumers) {
    if constexpr (kMovesRegisters) shrink_registers<40>();
    const int warp = thread / kWarp;
    // The plan is complete since the kernel in front began, and weights do not wait for it.
    if (warp == Config::kWeightWarp) copy_weights(args, shared);
    if (warp == Config::kRowWarp) {
      await_earlier_kernels();
      copy_rows(args, shared);
    }
  } else {
    if constexpr (kMovesRegisters) grow_registers<232>();
    await_earlier_kernels();
    Consumer<kMaxRows>(args, shared).run();
  }
  __syncwarp();
  sync_cluster();  // the other block may still write to this one
}

template <int kMaxRows>
void launch(Device& device, const MixtureArgs& args) {
  using Config = MixtureConfig<kMaxRows>;
  constexpr int kBytes = sizeof(MixtureShared<kMaxRows>) + kAtomBytes;
  static_assert(kBytes <= Config::kSharedBytes);
  auto* kernel = mixture_kernel<kMaxRows>;
  PRECIS_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int n_blocks = device.n_multiprocessors / Config::kCluster * Config::kCluster;
  launch_overlapping(device, kernel, dim3(static_cast<unsigned>(n_blocks)), Config::kThreads,
                     kBytes, Config::kCluster, args);
}

}  // namespace

void run_mixture(Device& device, const MixtureArgs& args, int max_tile_rows) {
  switch (max_tile_rows) {
    case 8: return launch<8>(device, args);
    case 32: return launch<32>(device, args);
    case 64: return launch<64>(device, args);
    default: return launch<128>(device, args);
  }
}

int tile_rows_for(std::int64_t n_tokens) {
  return n_tokens <= 8 ? 8 : n_tokens <= 128 ? 32 : n_tokens <= 1024 ? 64 : 128;
}

}  // namespace precis::cuda
