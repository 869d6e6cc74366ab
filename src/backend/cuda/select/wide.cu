// The selection for up to 64 heads of 128 channels: products of 64 keys with the heads of one or four
// tokens on the tensor cores (wgmma, s8), whose operands hold scales as shifts.
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

struct Tile {
  KeyOperand operand;
  std::uint32_t scales[2];  // one for each row
  bool is_plain;            // neither its keys nor the queries need each group's sums
};

template <int kTokens>
struct SharedLayout {
  int capacity;
  int n_found_max;

  __host__ __device__ int scratch_bytes() const {
    const int found = n_found_max * static_cast<int>(sizeof(Entry));
    return found > kSteps * 4 ? found : kSteps * 4;
  }
  __host__ __device__ int scratch_at() const {
    return static_cast<int>(sizeof(QueryTile<kTokens>) + 15) / 16 * 16;
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

// Whether any thread of the warpgroup says so.
__device__ bool any_of_warpgroup(bool own, int warpgroup) {
  std::uint32_t any;
  asm volatile(
      "{\n.reg .pred own, any;\nsetp.ne.u32 own, %1, 0;\n"
      "barrier.cta.red.or.pred any, %2, 128, own;\nselp.u32 %0, 1, 0, any;\n}"
      : "=r"(any)
      : "r"(own ? 1 : 0), "r"(1 + warpgroup)
      : "memory");
  return any != 0;
}

// The row's score as an entry of the lane's token, if the token sees the row.
__device__ Entry entry_of(float score, std::int32_t row, std::int32_t visible, Rounding rounding) {
  return row < visible ? make_entry(round_as(score, rounding), row) : 0;
}

// Adds those scores of the warp's rows, from `first` on, whose entries are above the threshold.
template <int kTokens>
__device__ void add_scores(const BestRows& list, const float (&scores)[2], std::int32_t first,
                           std::int32_t visible, Rounding rounding) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int32_t row = first + lane / kLanesOfRow;
  const Entry threshold = *list.threshold;
  if constexpr (kTokens == 1) {
    // Lane 3 of a row has both scores, and lane 2 takes over one.
    const float other = __shfl_down_sync(0xffffffff, scores[1], 1);
    const bool is_last = lane % kLanesOfRow == 3;
    const Entry entry = entry_of(is_last ? scores[0] : other, is_last ? row : row + 8,
                                 lane % kLanesOfRow >= 2 ? visible : 0, rounding);
    const unsigned added = __ballot_sync(0xffffffff, entry > threshold);
    if (added == 0) return;
    int at = 0;
    if (lane == 0) at = atomicAdd(list.count, __popc(added));
    at = __shfl_sync(0xffffffff, at, 0);
    if (entry > threshold) list.entries[at + __popc(added & ((1u << lane) - 1))] = entry;
  } else {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Entry entry = entry_of(scores[r], row + 8 * r, visible, rounding);
      if (entry > threshold) list.entries[atomicAdd(list.count, 1)] = entry;
    }
  }
}

template <int kTokens, int kWarpgroups, int kBlocks, int kCalls>
__global__ void __launch_bounds__(kWarpgroups* kWarpgroup, kBlocks)
    select_wide(const __grid_constant__ SelectStep<kCalls> step, SharedLayout<kTokens> layout) {
  const SelectCall& c = step.calls[kCalls > 1 ? blockIdx.y : 0];
  constexpr int kThreads = kWarpgroups * kWarpgroup;
  constexpr int kColumns = Slots<kTokens>::kColumns;
  constexpr int kRoundKeys = kWarpgroups * kTileKeys;
  // Looking at the lists holds warpgroups together that had better drift apart.
  constexpr int kRoundsToLook = kWarpgroups > 1 ? 4 : 1;
  extern __shared__ std::byte unaligned[];
  std::byte* shared = unaligned + bytes_to_atom(unaligned);
  auto& queries = *reinterpret_cast<QueryTile<kTokens>*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  const auto k = static_cast<int>(c.out.cols);
  // Later tokens see more rows, so they begin first.
  const std::int64_t first_token =
      kCalls > 1 ? 0 : static_cast<std::int64_t>(gridDim.y - 1 - blockIdx.y) * kTokens;
  const auto n_tokens = static_cast<int>(min(std::int64_t{kTokens}, c.weights.rows - first_token));
  const int own_token = Slots<kTokens>::token(lane % kLanesOfRow);
  const std::int32_t visible = own_token < n_tokens ? c.n_visible[first_token + own_token] : 0;
  std::int32_t n_rows = 0;
  for (int i = 0; i < n_tokens; ++i) n_rows = max(n_rows, c.n_visible[first_token + i]);

  // Tiles go to blocks in turn; every warpgroup makes the same number of rounds.
  const std::int32_t stride = static_cast<std::int32_t>(gridDim.x) * kRoundKeys;
  const int n_rounds = (n_rows - 1 - static_cast<std::int32_t>(blockIdx.x) * kRoundKeys + stride) /
                       stride;  // rounds toward 0 from above −1
  const KeyReader reader(c.keys, n_rows);
  std::int32_t first = static_cast<std::int32_t>(blockIdx.x) * kRoundKeys +
                       static_cast<std::int32_t>(threadIdx.x) / kWarp * kWarpKeys;
  PackedKeys keys = reader.load(reader.locate(first));
  KeyPlace place = reader.locate(first + stride);

  if (threadIdx.x < kTokens) layout.list(shared, static_cast<int>(threadIdx.x)).start();
  load_queries<kTokens, kThreads>(c, first_token, n_tokens, queries);
  const std::uint64_t b = describe(queries.bytes);
  const bool plain_queries = queries.is_plain != 0;
  int* histogram = reinterpret_cast<int*>(shared + layout.scratch_at());
  const BestRows own_list = layout.list(shared, own_token);
  const int limit = layout.capacity - kRoundsToLook * kRoundKeys;
  const bool can_fill = n_rounds * kRoundKeys > layout.capacity;

  // Takes the loaded keys as an operand, loads those of the round after, and locates the ones behind.
  Tile tile;
  const auto take_keys = [&](std::int32_t locate_next, Tile& out) {
    const bool is_odd = any_of_warpgroup(!out.operand.expand_scaled(keys, out.scales), warpgroup);
    out.is_plain = plain_queries && !is_odd;
    keys = reader.load(place);
    place = reader.locate(locate_next);
  };
  // One token leaves registers for four warpgroups, whose products and chains overlap; four tokens leave
  // them for the next operand.
  constexpr bool kAhead = kTokens > 1;
  if constexpr (kAhead) take_keys(first + 2 * stride, tile);
  for (int round = 0; round < n_rounds; ++round, first += stride) {
    float scores[2] = {0, 0};
    Tile next;
    if constexpr (!kAhead) take_keys(first + 2 * stride, tile);
    if (tile.is_plain) {
      std::int32_t sums[kColumns / 2];
      begin_products();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        multiply_registers<S8, kColumns>(sums, tile.operand.words[s], along_k(b, s), s > 0);
      }
      commit_products();
      if constexpr (kAhead) take_keys(first + 3 * stride, next);
      await_products<0>();
      hold(sums);
      tile.operand.hold_words();
      add_sums<kTokens>(queries, sums, scores);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        // · 2^(scale of the key), without the factors 2^-23 of the parts and 4 of the doubled codes.
        scores[r] *= __uint_as_float((tile.scales[r] + 23 - 2) << 23);
      }
    } else {
      add_group_sums<kTokens>(queries, reader.load(reader.locate(first)), scores);
      if constexpr (kAhead) take_keys(first + 3 * stride, next);
    }
    add_scores<kTokens>(own_list, scores, first, visible, c.rounding);
    // Whoever adds last sees all that was added.
    if (can_fill && round % kRoundsToLook == kRoundsToLook - 1 &&
        __syncthreads_or(*static_cast<volatile int*>(own_list.count) > limit)) {
      for (int i = 0; i < n_tokens; ++i) {
        tighten<kThreads>(layout.list(shared, i), k, k + (limit - k) / 4, histogram);
      }
    }
    if constexpr (kAhead) tile = next;
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
template <int kTokens, int kWarpgroups, int kBlocks>
SharedLayout<kTokens> make_layout(const Device& device, int k) {
  constexpr int kReserved = 1024;  // of each block
  constexpr int kLongest = 8192;
  SharedLayout<kTokens> layout{0, std::max(1024, round_up(2 * k, 2))};
  const int available = (device.max_shared_bytes + kReserved) / kBlocks - kReserved - 512;
  const int per_list = (available - layout.n_bytes()) / (kTokens * static_cast<int>(sizeof(Entry)));
  layout.capacity = std::min(kLongest, per_list) / 2 * 2;
  return layout;
}

// A round's entries have to fit beside the best, with something to spare.
template <int kTokens, int kWarpgroups>
bool has_room(const SharedLayout<kTokens>& layout, int k) {
  return layout.capacity >= k + k / 4 + 2 * kWarpgroups * kTileKeys;
}

template <int kTokens, int kWarpgroups, int kBlocks, int kCalls>
void launch(Device& device, std::span<const SelectCall> calls) {
  const auto kernel = select_wide<kTokens, kWarpgroups, kBlocks, kCalls>;
  const auto k = static_cast<int>(calls.front().out.cols);
  const auto layout = make_layout<kTokens, kWarpgroups, kBlocks>(device, k);
  PRECIS_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, layout.n_bytes()));
  // Blocks that meet have to be on the device together: kBlocks on every multiprocessor.
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                         cudaSharedmemCarveoutMaxShared));
  const auto n_groups = static_cast<int>(
      kCalls > 1 ? std::ssize(calls) : ceil_div(calls.front().weights.rows, kTokens));
  const int n_splits = std::max(1, kBlocks * device.n_multiprocessors / n_groups);
  SelectStep<kCalls> step{};
  std::copy(calls.begin(), calls.end(), step.calls);
  step.calls[0].meeting.n_found_max = layout.n_found_max;
  if (n_splits > 1) {
    prepare_meeting(device, std::span(step.calls).first(calls.size()), n_splits, n_groups);
  }
  kernel<<<dim3(n_splits, n_groups), kWarpgroups * kWarpgroup, layout.n_bytes(), device.stream>>>(
      step, layout);
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace
}  // namespace wide

bool is_wide_select(const Device& device, const SelectArgs& args) {
  const auto k = static_cast<int>(args.out.cols);
  return args.format.width == 32 * wide::kGroups && args.weights.cols <= wide::kHeads &&
         args.keys.rows_per_page % wide::kWarpKeys == 0 &&
         wide::has_room<4, 1>(wide::make_layout<4, 1, 2>(device, k), k);
}

void launch_wide_select(Device& device, const SelectCall& call) {
  wide::launch<4, 1, 2, 1>(device, {&call, 1});
}

void launch_wide_selects(Device& device, std::span<const SelectCall> calls) {
  for (; !calls.empty();
       calls = calls.subspan(std::min<std::size_t>(calls.size(), kMaxSelectCalls))) {
    const auto some = calls.first(std::min<std::size_t>(calls.size(), kMaxSelectCalls));
    some.size() == 1 ? wide::launch<1, 4, 1, 1>(device, some)
                     : wide::launch<1, 4, 1, kMaxSelectCalls>(device, some);
  }
}

}  // namespace precis::cuda
