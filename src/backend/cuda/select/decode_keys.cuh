// The decode selection's keys: a ring of tiles in shared memory for each warp, and tiles as the A operand.
#pragma once

#include "backend/cuda/select/decode_queries.cuh"

namespace precis::cuda::decode {

inline constexpr int kTileKeys = 16;  // of a warp
inline constexpr int kCodeBytes = kTileKeys * kRowBytes;
inline constexpr int kTileBytes = kCodeBytes + kTileKeys * kGroups;
inline constexpr std::uint32_t kStages = 4;
inline constexpr std::uint32_t kMaxShift = 2;

// A tile in shared memory: codes, then scales.
using TileBytes = std::byte[kTileBytes];

// A warp's tiles: rows of one page each, every stride-th of the token's.
class TileRing {
 public:
  __device__ TileRing(const Rows& keys, TileBytes* stages, std::int32_t first, std::int32_t stride,
                      std::int32_t n_rows)
      : pages_(keys.pages),
        per_page_(static_cast<std::uint32_t>(keys.rows_per_page)),
        stages_(stages),
        stride_(stride),
        n_rows_(n_rows) {
    step_pages_ = static_cast<std::uint32_t>(stride) / per_page_;
    step_rows_ = static_cast<std::uint32_t>(stride) - step_pages_ * per_page_;
    // All pages in one load.
    constexpr auto kLast = static_cast<int>(kStages) - 1;
    const auto lane = static_cast<std::int32_t>(threadIdx.x % kWarp);
    row_ = first + min(lane, kLast) * stride;
    page_idx_ = static_cast<std::uint32_t>(row_) / per_page_;
    in_page_ = static_cast<std::uint32_t>(row_) - page_idx_ * per_page_;
    page_ = row_ < n_rows ? pages_[page_idx_] : nullptr;
#pragma unroll 1
    for (int s = 0; s < kLast; ++s) {
      fetch(of_lane(page_, s), __shfl_sync(0xffffffff, in_page_, s), static_cast<std::uint32_t>(s));
    }
    page_ = of_lane(page_, kLast);
    row_ = __shfl_sync(0xffffffff, row_, kLast);
    page_idx_ = __shfl_sync(0xffffffff, page_idx_, kLast);
    in_page_ = __shfl_sync(0xffffffff, in_page_, kLast);
  }
  // Waits for the oldest tile; the whole warp.
  __device__ const std::byte* take() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncwarp();
    return stages_[stage_];
  }
  // After take: fetches another in place of the tile taken before.  Its page has been asked for a round
  // ago.
  __device__ void fetch_next() {
    const std::uint32_t in_page = in_page_;
    row_ += stride_;
    page_idx_ += step_pages_;
    in_page_ += step_rows_;
    if (in_page_ >= per_page_) {
      in_page_ -= per_page_;
      ++page_idx_;
    }
    const std::byte* page = row_ < n_rows_ ? pages_[page_idx_] : nullptr;
    fetch(page_, in_page, (stage_ + kStages - 1) % kStages);
    page_ = page;
    stage_ = (stage_ + 1) % kStages;
  }

 private:
  __device__ static const std::byte* of_lane(const std::byte* page, int lane) {
    return reinterpret_cast<const std::byte*>(
        __shfl_sync(0xffffffff, reinterpret_cast<unsigned long long>(page), lane));
  }
  // Copies the tile from this row of a page on, if there is one.
  __device__ void fetch(const std::byte* page, std::uint32_t in_page, std::uint32_t stage) const {
    if (page != nullptr) {
      const std::uint32_t lane = threadIdx.x % kWarp;
      const std::byte* codes = page + in_page * kRowBytes;
      const std::byte* scales = page + (per_page_ * kRowBytes + in_page * kGroups);
      std::byte* tile = stages_[stage];
      if (reinterpret_cast<std::uintptr_t>(page) % 16 == 0) {
        tile += 16 * lane;
        codes += 16 * lane;
        copy_async(tile, codes);
        copy_async(tile + 16 * kWarp, codes + 16 * kWarp);
        if (lane < kTileKeys * kGroups / 16) copy_async(tile + kCodeBytes, scales + 16 * lane);
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
  std::uint32_t step_pages_;  // the stride
  std::uint32_t step_rows_;
  std::int32_t n_rows_;
  std::int32_t row_;  // of the tile to fetch
  std::uint32_t page_idx_;
  std::uint32_t in_page_;
  const std::byte* page_;    // null where there is no row
  std::uint32_t stage_ = 0;  // of the tile to take
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

// The scales of keys lane / 4 (low half) and lane / 4 + 8 of a tile.
struct TileScales {
  std::uint32_t greatest;  // of each key's four
  std::uint32_t shifts;    // of the lane's group, above `greatest` − kMaxShift
  bool is_plain;           // of the lane's group, in both keys

  __device__ explicit TileScales(const std::byte* tile) {
    const auto* scales =
        reinterpret_cast<const std::uint8_t*>(tile) + kTileKeys * kRowBytes + threadIdx.x % kWarp;
    const std::uint32_t own = scales[0] | static_cast<std::uint32_t>(scales[kWarp]) << 16;
    greatest = own;
#pragma unroll
    for (int step = 1; step < kGroups; step *= 2) {
      greatest = __vmaxu2(greatest, __shfl_xor_sync(0xffffffff, greatest, step));
    }
    // Bit 8 of a half stays where nothing is borrowed from it.
    constexpr std::uint32_t kTops = 0x01000100u;
    const std::uint32_t offset = own + (kTops | kMaxShift << 16 | kMaxShift) - greatest;
    const std::uint32_t above = greatest + kTops - (kLeastScale + kMaxShift) * 0x10001u;
    const std::uint32_t below = kTops + kGreatestScale * 0x10001u - greatest;
    is_plain = (offset & above & below & kTops) == kTops;
    shifts = offset & 0x00030003u;
  }
};

}  // namespace precis::cuda::decode
