// The selection for up to 64 heads of 128 channels: products of 64 keys with the heads of four tokens
// on the tensor cores (wgmma, s8), whose operands hold scales as shifts.
//
// Where the scales of a key's four groups, and those of each head's, lie within three powers of two, the
// products of all 128 channels add up in one integer below 2^21, and score times a power of two is the
// chain that every backend adds: the same bits for one product and one addition a head.  Columns are
// dealt so that a thread holds its heads in ascending order.  Other tiles take each group's sums with
// their scales.  Derivation, bytes and cycles: docs/kernels/cuda_select.md.
#include <algorithm>

#include "backend/cuda/select/wide_scores.cuh"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace wide {
namespace {

constexpr int kThreads = kWarpgroup;
constexpr int kBlocks = 2;  // on a multiprocessor

struct Tile {
  KeyOperand operand;
  std::uint32_t scales[2];  // one for each row
  bool is_plain;            // neither its keys nor the queries need each group's sums
};

struct SharedLayout {
  int capacity;
  int n_found_max;

  __host__ __device__ int scratch_bytes() const {
    const int found = n_found_max * static_cast<int>(sizeof(Entry));
    return found > kSteps * 4 ? found : kSteps * 4;
  }
  __host__ __device__ int scratch_at() const {
    return static_cast<int>(sizeof(QueryTile) + 15) / 16 * 16;
  }
  __host__ __device__ int lists_at() const { return scratch_at() + scratch_bytes(); }
  __host__ __device__ int heads_at() const {
    return lists_at() + kTokens * capacity * static_cast<int>(sizeof(Entry));
  }
  // The block's memory need not begin at an atom.
  __host__ __device__ int n_bytes() const { return heads_at() + kTokens * 16 + kAtomBytes; }

  __device__ BestRows list(std::byte* shared, int i) const {
    return {reinterpret_cast<Entry*>(shared + lists_at()) + i * capacity,
            reinterpret_cast<int*>(shared + heads_at() + 16 * i + 8),
            reinterpret_cast<Entry*>(shared + heads_at() + 16 * i)};
  }
};

// Whether any thread of the block says so.
__device__ bool any_of_block(bool own) {
  std::uint32_t any;
  asm volatile(
      "{\n.reg .pred own, any;\nsetp.ne.u32 own, %1, 0;\n"
      "barrier.cta.red.or.pred any, 1, 128, own;\nselp.u32 %0, 1, 0, any;\n}"
      : "=r"(any)
      : "r"(own ? 1 : 0)
      : "memory");
  return any != 0;
}

// The row's score as an entry of the lane's token, if the token sees the row.
__device__ Entry entry_of(float score, std::int32_t row, std::int32_t visible, Rounding rounding) {
  return row < visible ? make_entry(round_as(score, rounding), row) : 0;
}

// Adds those scores of the warp's rows, from `first` on, whose entries are above the threshold.
__device__ void add_scores(const BestRows& list, const float (&scores)[2], std::int32_t first,
                           std::int32_t visible, Rounding rounding) {
  const std::int32_t row = first + static_cast<int>(threadIdx.x) % kWarp / kLanesOfRow;
  const Entry threshold = *list.threshold;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const Entry entry = entry_of(scores[r], row + 8 * r, visible, rounding);
    if (entry > threshold) list.entries[atomicAdd(list.count, 1)] = entry;
  }
}

__global__ void __launch_bounds__(kThreads, kBlocks)
    select_wide(const __grid_constant__ SelectCall c, SharedLayout layout) {
  extern __shared__ std::byte unaligned[];
  std::byte* shared = unaligned + bytes_to_atom(unaligned);
  auto& queries = *reinterpret_cast<QueryTile*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto k = static_cast<int>(c.out.cols);
  // Later tokens see more rows, so they begin first.
  const std::int64_t first_token = static_cast<std::int64_t>(gridDim.y - 1 - blockIdx.y) * kTokens;
  const auto n_tokens = static_cast<int>(min(std::int64_t{kTokens}, c.weights.rows - first_token));
  const int own_token = lane % kLanesOfRow;
  const std::int32_t visible = own_token < n_tokens ? c.n_visible[first_token + own_token] : 0;
  std::int32_t n_rows = 0;
  for (int i = 0; i < n_tokens; ++i) n_rows = max(n_rows, c.n_visible[first_token + i]);

  // Tiles go to blocks in turn.
  const std::int32_t stride = static_cast<std::int32_t>(gridDim.x) * kTileKeys;
  const int n_rounds = (n_rows - 1 - static_cast<std::int32_t>(blockIdx.x) * kTileKeys + stride) /
                       stride;  // rounds toward 0 from above −1
  const KeyReader reader(c.keys, n_rows);
  std::int32_t first = static_cast<std::int32_t>(blockIdx.x) * kTileKeys +
                       static_cast<std::int32_t>(threadIdx.x) / kWarp * kWarpKeys;
  PackedKeys keys = reader.load(reader.locate(first));
  KeyPlace place = reader.locate(first + stride);

  if (threadIdx.x < kTokens) layout.list(shared, static_cast<int>(threadIdx.x)).start();
  load_queries<kThreads>(c, first_token, n_tokens, queries);
  const std::uint64_t b = describe(queries.bytes);
  const bool plain_queries = queries.is_plain != 0;
  int* histogram = reinterpret_cast<int*>(shared + layout.scratch_at());
  const BestRows own_list = layout.list(shared, own_token);
  const int limit = layout.capacity - kTileKeys;
  const bool can_fill = n_rounds * kTileKeys > layout.capacity;

  // Takes the loaded keys as an operand, loads those of the round after, and locates the ones behind.
  Tile tile;
  const auto take_keys = [&](std::int32_t locate_next, Tile& out) {
    const bool is_odd = any_of_block(!out.operand.expand_scaled(keys, out.scales));
    out.is_plain = plain_queries && !is_odd;
    keys = reader.load(place);
    place = reader.locate(locate_next);
  };
  take_keys(first + 2 * stride, tile);
  for (int round = 0; round < n_rounds; ++round, first += stride) {
    float scores[2] = {0, 0};
    Tile next;
    if (tile.is_plain) {
      std::int32_t sums[kColumns / 2];
      begin_products();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        multiply_registers<S8, kColumns>(sums, tile.operand.words[s], along_k(b, s), s > 0);
      }
      commit_products();
      take_keys(first + 3 * stride, next);
      await_products<0>();
      hold(sums);
      tile.operand.hold_words();
      add_sums(queries, sums, scores);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        // · 2^(scale of the key), without the factors 2^-23 of the parts and 4 of the doubled codes.
        scores[r] *= __uint_as_float((tile.scales[r] + 23 - 2) << 23);
      }
    } else {
      add_group_sums(queries, reader.load(reader.locate(first)), scores);
      take_keys(first + 3 * stride, next);
    }
    add_scores(own_list, scores, first, visible, c.rounding);
    // Whoever adds last sees all that was added.
    if (can_fill && __syncthreads_or(*static_cast<volatile int*>(own_list.count) > limit)) {
      for (int i = 0; i < n_tokens; ++i) {
        tighten<kThreads>(layout.list(shared, i), k, k + (limit - k) / 4, histogram);
      }
    }
    tile = next;
  }
  __syncthreads();

  const auto list_of = [&](int i) { return layout.list(shared, i); };
  // 64 steps to a power of two, from below what one channel of the heaviest head can add.
  const auto steps_of = [&](int i) {
    const int exponent = min(max((queries.magnitude[i] >> 23) - 2, 1), 254 - 32);
    const Entry low = static_cast<Entry>(0x80000000u | static_cast<std::uint32_t>(exponent) << 23);
    return Steps{low << 32, 32 + 23 - 6, 0, ~Entry{0}, true};
  };
  write_selection<kThreads, kTokens>(c, first_token, n_tokens, list_of, steps_of, histogram,
                                     shared + layout.scratch_at());
}

// The longest lists that leave room for kBlocks on a multiprocessor.
SharedLayout make_layout(const Device& device, int k) {
  constexpr int kReserved = 1024;  // of each block
  constexpr int kLongest = 8192;
  SharedLayout layout{0, std::max(1024, round_up(2 * k, 2))};
  const int available = (device.max_shared_bytes + kReserved) / kBlocks - kReserved - 512;
  const int per_list = (available - layout.n_bytes()) / (kTokens * static_cast<int>(sizeof(Entry)));
  layout.capacity = std::min(kLongest, per_list) / 2 * 2;
  return layout;
}

// A round's entries have to fit beside the best, with something to spare.
bool has_room(const SharedLayout& layout, int k) {
  return layout.capacity >= k + k / 4 + 2 * kTileKeys;
}

}  // namespace
}  // namespace wide

bool is_wide_select(const Device& device, const SelectArgs& args) {
  const auto k = static_cast<int>(args.out.cols);
  return args.format.width == 32 * kGroups && args.weights.cols <= wide::kHeads &&
         args.keys.rows_per_page % wide::kWarpKeys == 0 &&
         wide::has_room(wide::make_layout(device, k), k);
}

void launch_wide_select(Device& device, SelectCall call) {
  using namespace wide;
  const auto kernel = select_wide;
  const SharedLayout layout = make_layout(device, static_cast<int>(call.out.cols));
  PRECIS_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.n_bytes()));
  // Blocks that meet have to be on the device together: kBlocks on every multiprocessor.
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                         cudaSharedmemCarveoutMaxShared));
  const auto n_groups = static_cast<int>(ceil_div(call.weights.rows, kTokens));
  const int n_splits = std::max(1, kBlocks * device.n_multiprocessors / n_groups);
  call.meeting.n_found_max = layout.n_found_max;
  if (n_splits > 1) prepare_meeting(device, {&call, 1}, n_splits, n_groups);
  kernel<<<dim3(n_splits, n_groups), kThreads, layout.n_bytes(), device.stream>>>(call, layout);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace precis::cuda
