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

// A word and four words of shared memory.
__device__ inline std::uint32_t load_shared_word(std::uint32_t address) {
  std::uint32_t word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}
__device__ inline uint4 load_shared_words(std::uint32_t address) {
  uint4 words;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "r"(address)
               : "memory");
  return words;
}

// Where a tile lies in its page; of no use if there is no such tile.
struct alignas(16) TilePlace {
  const std::byte* codes;
  const std::byte* scales;
};

// A warp's tiles: rows of one page each, every stride-th of the token's.
class TileRing {
 public:
  using Stages = TileBytes[kStages];
  using Places = TilePlace[kWarp];  // of the next tiles

  // Asks for the pages of the first tiles.
  __device__ TileRing(const Rows& keys, Stages& stages, Places& places, std::int32_t first,
                      std::int32_t stride, std::int32_t n_rows)
      : lane_(kept(threadIdx.x % kWarp)),
        own_bytes_(kept(shared_address(stages[0] + 16 * lane_))),
        places_(places),
        keys_(keys),
        first_(first),
        stride_(stride),
        n_rows_(n_rows) {
    locate(0);
  }
  // Fetches the first tiles; the whole warp, as all that follow.
  __device__ void start() {
#pragma unroll 1
    for (std::uint32_t s = 0; s < kStages - 1; ++s) fetch(s);
  }
  // Waits for the oldest tile: the shared address of the lane's first 16 bytes of it.
  __device__ std::uint32_t take() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncwarp();
    return own_bytes(taken_);
  }
  // After take: fetches another in place of the tile taken before.
  __device__ void fetch_next() {
    const std::uint32_t next = taken_ + kStages - 1;
    if (next % kWarp == 0) locate(next);
    fetch(next);
    ++taken_;
  }
  __device__ std::uint32_t lane() const {
    return lane_;
  }
  __device__ std::int32_t stride() const {
    return stride_;
  }
  __device__ std::int32_t n_rows() const {
    return n_rows_;
  }
  // The room of the tile taken last, which nothing is written to before the next is taken.
  __device__ std::uint32_t spent_stage() const {
    return (taken_ - 1) % kStages;
  }

 private:
  // A shuffle hides what the compiler would work out anew for each tile.
  __device__ static std::uint32_t kept(std::uint32_t value) {
    return __shfl_sync(0xffffffff, value, static_cast<int>(threadIdx.x % kWarp));
  }
  __device__ std::uint32_t own_bytes(std::uint32_t tile) const {
    return own_bytes_ + tile % kStages * kTileBytes;
  }
  // Finds the tiles from `next` on.
  __device__ void locate(std::uint32_t next) {
    const auto per_page = static_cast<std::uint32_t>(keys_.rows_per_page);
    const auto row = first_ + static_cast<std::int32_t>(next + lane_) * stride_;
    const std::uint32_t page = static_cast<std::uint32_t>(row) / per_page;
    const std::uint32_t in_page = static_cast<std::uint32_t>(row) - page * per_page;
    const std::byte* start = row < n_rows_ ? keys_.pages[page] : nullptr;
    const TilePlace place = {start + in_page * kRowBytes,
                             start + (per_page * kRowBytes + in_page * kGroups)};
    __syncwarp();
    places_[lane_] = place;
    is_aligned_ = __ballot_sync(
        0xffffffff, start != nullptr && reinterpret_cast<std::uintptr_t>(start) % 16 == 0);
    is_there_ = __ballot_sync(0xffffffff, start != nullptr);
    __syncwarp();
  }
  // Copies a tile, if there is one.
  __device__ void fetch(std::uint32_t next) const {
    const TilePlace& place = places_[next % kWarp];
    const std::uint32_t own = own_bytes(next);
    if ((is_aligned_ >> next % kWarp & 1) != 0) {
      const std::byte* codes = place.codes + 16 * lane_;
#pragma unroll
      for (int at = 0; at < kCodeBytes; at += 16 * kWarp) copy_async(own + at, codes + at);
      if (lane_ < kTileKeys * kGroups / 16) {
        copy_async(own + kCodeBytes, place.scales + 16 * lane_);
      }
    } else if ((is_there_ >> next % kWarp & 1) != 0) {
      copy_words(own - 16 * lane_, place.codes, kCodeBytes / 4);
      copy_words(own - 16 * lane_ + kCodeBytes, place.scales, kTileKeys * kGroups / 4);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  __device__ void copy_words(std::uint32_t to, const std::byte* from, std::uint32_t n) const {
#pragma unroll 1
    for (std::uint32_t at = lane_; at < n; at += kWarp) {
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to + 4 * at), "l"(from + 4 * at)
                   : "memory");
    }
  }

  std::uint32_t lane_;
  std::uint32_t own_bytes_;  // of the first stage
  TilePlace* places_;
  const Rows& keys_;
  std::int32_t first_;
  std::int32_t stride_;
  std::int32_t n_rows_;
  unsigned is_aligned_ = 0;  // of the tiles whose places are known, a bit each
  unsigned is_there_ = 0;
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
  // From the lane's first bytes of a tile.
  __device__ TileScales(std::uint32_t own_bytes, std::uint32_t lane) : lane_(lane) {
    const std::uint32_t own = load_shared_word(
        own_bytes + kCodeBytes + 4 * static_cast<std::uint32_t>(key(lane)) - 16 * lane);
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
    const std::uint32_t places =
        __shfl_sync(0xffffffff, places_, static_cast<int>(lane_ / kGroups * kGroups) + j);
    return __byte_perm(places, 0, 0x4440 | lane_ % kGroups);
  }

 private:
  std::uint32_t lane_;
  std::uint32_t places_;  // of all groups of the own key
};

}  // namespace precis::cuda::decode
