// The compressor: blocks of R tokens pooled into one row, channel by channel.
//
// Finished blocks read their tokens straight from this call's projections, or from the state where
// an earlier call brought them; both hold the same bits, so blocks are independent and run in
// parallel.  The state is brought up to date afterwards.  Lanes are channels, and entries are
// pooled in the order of their tokens: the cut into calls cannot be seen.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "backend/cpu/backend.h"
#include "backend/cpu/grain.h"
#include "backend/cpu/slices.h"
#include "tensor/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/compress.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/row_math.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

// Entries are summed in groups of this many and the groups in order: a single chain over 128
// entries loses about three times as many bits to rounding, and the norm that follows magnifies
// them.
constexpr int kPoolGroup = 8;

// One token as the pool of a block sees it: `width` channels, score = gate + ape.
struct Entry {
  const float* kv;
  const float* gate;
  const float* ape;  // null where the gate includes it
};

// The token at `position`, in the half of its channels that starts at `channel`.
Entry entry_at(const CompressArgs& a, std::int64_t position, std::int64_t channel,
               std::int64_t state_row) {
  const std::int64_t t = position - a.first_position;
  if (t < 0)
    return {a.state_kv.row(state_row) + channel, a.state_score.row(state_row) + channel, nullptr};
  const float* ape = a.ape.data() + position % a.ratio * a.kv.cols;
  return {a.kv.row(t) + channel, a.score.row(t) + channel, ape + channel};
}

// The entries of block `block` in token order.  The state holds a block that began before this call
// in its last R rows, the block before that one in its first R rows.
int block_entries(const CompressArgs& a, std::int64_t block, Entry* entries) {
  const std::int64_t begin = block * a.ratio;
  const std::int64_t current = a.overlap ? a.ratio : 0;
  int n = 0;
  if (a.overlap && block > 0) {
    const bool is_pending = block == a.first_row() + 1;  // its first tokens came before this call
    for (int r = 0; r < a.ratio; ++r) {
      entries[n++] = entry_at(a, begin - a.ratio + r, 0, is_pending ? current + r : r);
    }
  }
  for (int r = 0; r < a.ratio; ++r) {
    entries[n++] = entry_at(a, begin + r, a.overlap ? a.width() : 0, current + r);
  }
  return n;
}

HWY_INLINE VF32 load_channels(const float* p, int n) {
  constexpr int kStep = static_cast<int>(kLanes);
  return n == kStep ? hn::LoadU(DF32(), p) : load_first(p, static_cast<std::size_t>(n));
}

HWY_INLINE VF32 entry_score(const Entry& entry, int c, int n) {
  const auto gate = load_channels(entry.gate + c, n);
  return entry.ape == nullptr ? gate : hn::Add(gate, load_channels(entry.ape + c, n));
}

// Channels c … c + n − 1 of the pooled row, n <= kLanes.
HWY_INLINE VF32 pool_channels(const Entry* entries, int n_entries, int c, int n) {
  const DF32 d;
  auto max = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int i = 0; i < n_entries; ++i) max = hn::Max(max, entry_score(entries[i], c, n));
  auto sum = hn::Zero(d);
  auto weighted = hn::Zero(d);
  for (int begin = 0; begin < n_entries; begin += kPoolGroup) {
    const int end = std::min(begin + kPoolGroup, n_entries);
    auto group_sum = hn::Zero(d);
    auto group_weighted = hn::Zero(d);
    for (int i = begin; i < end; ++i) {
      const auto weight = exp_f32(hn::Sub(entry_score(entries[i], c, n), max));
      group_sum = hn::Add(group_sum, weight);
      group_weighted = hn::MulAdd(weight, load_channels(entries[i].kv + c, n), group_weighted);
    }
    sum = hn::Add(sum, group_sum);
    weighted = hn::Add(weighted, group_weighted);
  }
  return hn::Div(weighted, sum);
}

void pool_block(const CompressArgs& a, const Entry* entries, int n_entries, float* row) {
  constexpr int kStep = static_cast<int>(kLanes);
  const int width = a.width();
  int c = 0;
  for (; c + kStep <= width; c += kStep) {
    hn::StoreU(pool_channels(entries, n_entries, c, kStep), DF32(), row + c);
  }
  if (c == width) return;
  const int n = width - c;
  store_first(pool_channels(entries, n_entries, c, n), row + c, static_cast<std::size_t>(n));
}

void finish_row(const CompressArgs& a, std::int64_t nth, float* row) {
  const int width = a.width();
  round_row(row, width, a.rounding);
  rms_norm_row(row, width, a.norm.data(), a.eps, row);
  round_row(row, width, a.rounding);
  rotate_row(row, width, a.rope, nth, a.rounding);
  const std::int64_t index = a.first_row() + nth;
  const std::span<const float> values(row, static_cast<std::size_t>(width));
  if (a.kind == CompressedKind::kKvRow) {
    write_kv_row(a.rows, index, a.kv_format, values);
    return;
  }
  hadamard_row(row, width);
  round_row(row, width, a.rounding);
  write_index_row(a.rows, index, a.index_format, values);
}

// Both state rows of one token; the gate's becomes a score.
void store_token(const CompressArgs& a, std::int64_t position, std::int64_t state_row) {
  const std::int64_t t = position - a.first_position;
  const float* ape = a.ape.data() + position % a.ratio * a.kv.cols;
  const float* gate = a.score.row(t);
  float* score = a.state_score.row(state_row);
  std::copy_n(a.kv.row(t), a.kv.cols, a.state_kv.row(state_row));
  for (std::int64_t c = 0; c < a.kv.cols; ++c) score[c] = gate[c] + ape[c];
}

}  // namespace

std::size_t compress_scratch_bytes(const CompressArgs& a) {
  Slices slices(nullptr);
  slices.take<Entry>(2 * a.ratio);
  slices.take<float>(a.width());
  return slices.n_bytes();
}

// Pools and stores the finished blocks [begin, end), counted from this call's first.
void compress_blocks(const CompressArgs& a, std::int64_t begin, std::int64_t end,
                     std::byte* scratch) {
  Slices slices(scratch);
  Entry* entries = slices.take<Entry>(2 * a.ratio);
  float* row = slices.take<float>(a.width());
  for (std::int64_t i = begin; i < end; ++i) {
    const int n = block_entries(a, a.first_row() + i, entries);
    pool_block(a, entries, n, row);
    finish_row(a, i, row);
  }
}

// Leaves the state as if the tokens had come one by one.
void update_state(const CompressArgs& a) {
  const std::int64_t end = a.first_position + a.kv.rows;
  const std::int64_t current = a.overlap ? a.ratio : 0;
  if (a.overlap && a.n_finished() > 0) {
    const std::int64_t block = end / a.ratio - 1;  // the last finished one
    for (int r = 0; r < a.ratio; ++r) {
      const std::int64_t position = block * a.ratio + r;
      if (position >= a.first_position) {
        store_token(a, position, r);
      } else {
        std::copy_n(a.state_kv.row(current + r), a.kv.cols, a.state_kv.row(r));
        std::copy_n(a.state_score.row(current + r), a.kv.cols, a.state_score.row(r));
      }
    }
  }
  // Slots that these tokens do not reach keep older ones, as they would one by one.
  for (std::int64_t p = std::max(a.first_position, end - a.ratio); p < end; ++p) {
    store_token(a, p, current + p % a.ratio);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {

void CpuBackend::do_compress(const CompressArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, compress_blocks);
  const std::size_t scratch_bytes = PRECIS_CPU_ENTRY(isa_, compress_scratch_bytes)(a);
  const auto block_values = static_cast<double>(a.ratio * a.kv.cols);  // a nanosecond each
  threads_.parallel_for(a.n_finished(), grain_for(block_values),
                        [&](std::int64_t begin, std::int64_t end, int worker) {
                          run(a, begin, end, worker_scratch_[worker].get<std::byte>(scratch_bytes));
                        });
  PRECIS_CPU_ENTRY(isa_, update_state)(a);
}

}  // namespace precis
#endif
