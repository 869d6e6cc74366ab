// The decode selection's keys: a ring of tiles in shared memory for each warp, and tiles as the A operand.
#pragma once

#include "backend/cuda/select/decode_queries.cuh"

namespace precis::cuda::decode {

inline constexpr int kTileKeys = 32;  // of a warp
inline constexpr int kHalfKeys = 16;  // of those, rows of the A operand
inline constexpr int kCodeBytes = kTileKeys * kRowBytes;
inline constexpr int kTileBytes = kCodeBytes + kTileKeys * kGroups;
inline constexpr std::uint32_t kStages = 2;
inline constexpr std::uint32_t kMaxShift = 2;

// A tile in shared memory: codes, then scales.
using TileBytes = std::byte[kTileBytes];

// A warp's tiles: rows of one page each, every stride-th of the token's.  Each lane knows where one of the next
// 32 lies.
class TileRing {
 public:
  // Asks for the pages of the first tiles.
  __device__ TileRing(const Rows& keys, TileBytes* stages, std::int32_t first, std::int32_t stride,
                      std::int32_t n_rows)
      : pages_(keys.pages),
        per_page_(static_cast<std::uint32_t>(keys.rows_per_page)),
        stages_(stages),
        stride_(stride),
        n_rows_(n_rows),
        row_(first + static_cast<std::int32_t>(threadIdx.x % kWarp) * stride) {
    locate();
  }
  // Fetches the first tiles; the whole warp, as all that follow.
  __device__ void start() {
#pragma unroll 1
    for (std::uint32_t s = 0; s < kStages - 1; ++s) fetch(s, s);
  }
  // Waits for the oldest tile.
  __device__ const std::byte* take() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncwarp();
    return stages_[taken_ % kStages];
  }
  // After take: fetches another in place of the tile taken before.
  __device__ void fetch_next() {
    const std::uint32_t next = taken_ + kStages - 1;
    if (next % kWarp == 0) {
      row_ += static_cast<std::int32_t>(kWarp) * stride_;
      locate();
    }
    fetch(next % kWarp, next % kStages);
    ++taken_;
  }

 private:
  __device__ void locate() {
    const std::uint32_t page = static_cast<std::uint32_t>(row_) / per_page_;
    const std::uint32_t in_page = static_cast<std::uint32_t>(row_) - page * per_page_;
    codes_ = row_ < n_rows_ ? pages_[page] : nullptr;
    if (codes_ != nullptr) codes_ += in_page * kRowBytes;
    to_scales_ = (per_page_ - in_page) * kRowBytes + in_page * kGroups;
  }
  // Copies the tile that `lane` knows, if there is one.
  __device__ void fetch(std::uint32_t lane_of_tile, std::uint32_t stage) const {
    const auto codes = reinterpret_cast<const std::byte*>(
        __shfl_sync(0xffffffff, reinterpret_cast<unsigned long long>(codes_), lane_of_tile));
    const std::uint32_t to_scales = __shfl_sync(0xffffffff, to_scales_, lane_of_tile);
    if (codes != nullptr) {
      const std::byte* scales = codes + to_scales;
      const std::uint32_t lane = threadIdx.x % kWarp;
      std::byte* tile = stages_[stage];
      if (reinterpret_cast<std::uintptr_t>(codes) % 16 == 0) {
#pragma unroll
        for (int at = 0; at < kCodeBytes; at += 16 * kWarp) {
          copy_async(tile + (at + 16 * lane), codes + (at + 16 * lane));
        }
        if (lane < kTileKeys * kGroups / 16) {
          copy_async(tile + kCodeBytes + 16 * lane, scales + 16 * lane);
        }
      } else {
        copy_words(tile, codes, kCodeBytes / 4);
        copy_words(tile + kCodeBytes, scales, kTileKeys * kGroups / 4);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  __device__ static void copy_words(std::byte* to, const std::byte* from, std::uint32_t n) {
#pragma unroll 1
    for (std::uint32_t at = threadIdx.x % kWarp; at < n; at += kWarp) {
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to + 4 * at)),
                   "l"(from + 4 * at)
                   : "memory");
    }
  }

  std::byte* const* pages_;
  std::uint32_t per_page_;
  TileBytes* stages_;
  std::int32_t stride_;
  std::int32_t n_rows_;
  std::int32_t row_;  // first of the tile that the lane knows
  const std::byte* codes_ = nullptr;
  std::uint32_t to_scales_ = 0;
  std::uint32_t taken_ = 0;
};

// The bytes of codes, biased: a permutation of bytes gives 0 for a selector with its top bit if the byte's own
// top bit is clear, so one looks up positive codes, one negative ones, and their sum is the byte.
struct BiasedTables {
  std::uint32_t words[4];  // positive: 0 … 3, 4 … 7; negative likewise

  __device__ void fill(int shift) {
    const ByteTable table(shift);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      words[i] = 0x40404040u + table.positive[i];
      words[2 + i] = 0x40404040u - table.positive[i];
    }
  }
};

// __byte_perm takes three bits of each selector.
__device__ inline std::uint32_t permute_bytes(std::uint32_t low, std::uint32_t high,
                                              std::uint32_t selectors) {
  std::uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(low), "r"(high), "r"(selectors));
  return out;
}
__device__ inline std::uint32_t biased_bytes(const uint4& table, std::uint32_t codes,
                                             std::uint32_t flipped) {
  return permute_bytes(table.x, table.y, codes) | permute_bytes(table.z, table.w, flipped);
}
__device__ inline uint2 biased_bytes(const uint4& table, std::uint32_t codes) {
  const std::uint32_t flipped = codes ^ 0x88888888u;
  return {biased_bytes(table, codes, flipped), biased_bytes(table, codes >> 16, flipped >> 16)};
}

// The scales of the lane's own key of a tile, and the tables of the groups that it unpacks.
struct TileScales {
  std::uint32_t greatest;  // of the key's four
  bool is_plain;           // all of them become shifts

  // The key: its sum is the lane's after add_lanes.
  __device__ static int key(std::uint32_t lane) {
    return static_cast<int>(lane / kGroups + lane % kGroups * (kWarp / kGroups));
  }
  __device__ explicit TileScales(const std::byte* tile) {
    const std::uint32_t lane = threadIdx.x % kWarp;
    const std::uint32_t own = reinterpret_cast<const std::uint32_t*>(tile + kCodeBytes)[key(lane)];
    const std::uint32_t pair = __vmaxu2(own & 0x00ff00ff, own >> 8 & 0x00ff00ff);
    greatest = max(pair & 0xffff, pair >> 16);
    // How far each is above `greatest` − kMaxShift: not more than that, unless it is below, which shows in the upper
    // bits, as no scale that is allowed is as large as 2^7.
    const std::uint32_t offsets = own + kMaxShift * 0x01010101u - greatest * 0x01010101u;
    constexpr std::uint32_t kLeast = kLeastScale + kMaxShift;
    is_plain = (offsets & 0xfcfcfcfc) == 0 && greatest - kLeast <= kGreatestScale - kLeast;
    places_ = (offsets & 0x03030303) << 4;
  }
  // Where among the tables that of the lane's group of key lane / 4 + 8·j is, in bytes.
  __device__ std::uint32_t table_place(int j) const {
    const std::uint32_t lane = threadIdx.x % kWarp;
    const std::uint32_t places =
        __shfl_sync(0xffffffff, places_, static_cast<int>(lane / kGroups * kGroups) + j);
    return __byte_perm(places, 0, 0x4440 | lane % kGroups);
  }

 private:
  std::uint32_t places_;  // of all groups of the own key
};

}  // namespace precis::cuda::decode
