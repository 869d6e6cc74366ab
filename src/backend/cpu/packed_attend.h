// Scores and sums of one token straight from packed rows: codes become floats in registers, where a tile
// of floats would be used once.  Every sum is in the order of the tiles' kernels (attend.cc).
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <hwy/highway.h>

#include "backend/cpu/e4m3_lanes.h"
#include "backend/cpu/row_codec.h"
#include "backend/cpu/row_columns.h"
#include "backend/cpu/simd.h"

#if defined(PRECIS_CPU_PACKED_ATTEND_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_PACKED_ATTEND_H_
#undef PRECIS_CPU_PACKED_ATTEND_H_
#else
#define PRECIS_CPU_PACKED_ATTEND_H_
#endif

#if HWY_TARGET == HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kPackedRows = 2 * static_cast<int>(kLanes);  // that are scored together
inline constexpr int kPackedHeads = 4;

/// The released rows, whose channels fill whole vectors.
HWY_INLINE bool is_packed_format(const KvRowFormat& format) {
  return format.nope_storage == NopeStorage::kE4m3Scales8 &&
         format.rope_storage == RopeStorage::kBf16 && format.nope % KvRowFormat::kGroup == 0 &&
         format.rope % static_cast<int>(2 * kLanes) == 0;
}

// u = q·row·scale for kPackedRows rows and kPackedHeads heads, a channel after the other.
class PackedScores {
 public:
  PackedScores(const float* q, std::int64_t q_stride) : q_(q), q_stride_(q_stride) {
    for (int h = 0; h < kPackedHeads; ++h) {
      for (int v = 0; v < 2; ++v) totals_[h][v] = sums_[h][v] = hn::Zero(DF32());
    }
  }

  HWY_INLINE void add(int channel, VF32 rows_0, VF32 rows_1) {
    const float* q = q_ + channel;
    for (int h = 0; h < kPackedHeads; ++h) {
      const auto query = hn::Set(DF32(), q[h * q_stride_]);
      sums_[h][0] = hn::MulAdd(query, rows_0, sums_[h][0]);
      sums_[h][1] = hn::MulAdd(query, rows_1, sums_[h][1]);
    }
  }
  HWY_INLINE void end_block() {
    for (int h = 0; h < kPackedHeads; ++h) {
      for (int v = 0; v < 2; ++v) {
        totals_[h][v] = hn::Add(totals_[h][v], sums_[h][v]);
        sums_[h][v] = hn::Zero(DF32());
      }
    }
  }
  HWY_INLINE void store(float scale, std::int64_t stride, float* out) const {
    for (int h = 0; h < kPackedHeads; ++h) {
      for (int v = 0; v < 2; ++v) {
        hn::StoreU(hn::Mul(totals_[h][v], hn::Set(DF32(), scale)), DF32(),
                   out + h * stride + v * static_cast<int>(kLanes));
      }
    }
  }

 private:
  const float* q_;
  std::int64_t q_stride_;
  VF32 totals_[kPackedHeads][2];
  VF32 sums_[kPackedHeads][2];
};

HWY_INLINE VF32 group_scales(const RowAddress* rows, int group) {
  HWY_ALIGN float scales[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) {
    scales[i] = decode_e8m0(static_cast<std::uint8_t>(rows[i].scales[group]));
  }
  return hn::Load(DF32(), scales);
}

// `rows` has kPackedRows addresses.
HWY_INLINE void score_packed_rows(const KvRowFormat& format, const RowAddress* rows, const float* q,
                                  std::int64_t q_stride, int sum_block, float scale,
                                  std::int64_t score_stride, float* scores) {
  const DF32 d;
  const DU32 d_u32;
  constexpr int kRows = static_cast<int>(kLanes);
  constexpr int kPieceWords = static_cast<int>(kLanes);
  constexpr int kPieceBytes = 4 * kPieceWords;
  HWY_ALIGN std::uint32_t words[kPieceWords * kPackedRows];
  const auto transpose = [&](int begin) HWY_ATTR {
    for (int half = 0; half < 2; ++half) {
      for_transposed_words(rows + half * kRows, begin, begin + kPieceBytes,
                           [&](int w, VU32 word) HWY_ATTR {
                             hn::Store(word, d_u32, words + w * kPackedRows + half * kRows);
                           });
    }
  };
  const auto word_of = [&](int w, int half) HWY_ATTR {
    return hn::Load(d_u32, words + w * kPackedRows + half * kRows);
  };
  PackedScores sums(q, q_stride);
  static_assert(kPieceBytes == KvRowFormat::kGroup);
  const CodeLanes first = code_lanes<4>();
  const CodeLanes lanes[4] = {first, first.after(1), first.after(2), first.after(3)};
  for (int begin = 0; begin < format.nope; begin += kPieceBytes) {
    transpose(begin);
    const VF32 scales_0 = group_scales(rows, begin / kPieceBytes);
    const VF32 scales_1 = group_scales(rows + kRows, begin / kPieceBytes);
    for (int w = 0; w < kPieceWords; ++w) {
      const E4m3Bytes bytes_0 = look_up_e4m3(hn::BitCast(DCodes(), word_of(w, 0)));
      const E4m3Bytes bytes_1 = look_up_e4m3(hn::BitCast(DCodes(), word_of(w, 1)));
      for (int i = 0; i < 4; ++i) {
        sums.add(begin + 4 * w + i, hn::Mul(bytes_0.floats(lanes[i]), scales_0),
                 hn::Mul(bytes_1.floats(lanes[i]), scales_1));
      }
    }
    if ((begin + kPieceBytes) % sum_block == 0) sums.end_block();
  }
  const VU32 upper_half = hn::Set(d_u32, 0xffff0000u);
  for (int begin = 0; begin < format.rope; begin += 2 * kPieceWords) {
    transpose(format.nope + 2 * begin);
    for (int w = 0; w < kPieceWords; ++w) {
      const VU32 word_0 = word_of(w, 0);
      const VU32 word_1 = word_of(w, 1);
      const int channel = format.nope + begin + 2 * w;
      sums.add(channel, hn::BitCast(d, hn::ShiftLeft<16>(word_0)),
               hn::BitCast(d, hn::ShiftLeft<16>(word_1)));
      sums.add(channel + 1, hn::BitCast(d, hn::And(word_0, upper_half)),
               hn::BitCast(d, hn::And(word_1, upper_half)));
    }
    if ((format.nope + begin + 2 * kPieceWords) % sum_block == 0) sums.end_block();
  }
  if (format.width() % sum_block != 0) sums.end_block();
  sums.store(scale, score_stride, scores);
}

// sums[h] += Σ_r weights[h][r]·value(r, v) for kVecs vectors of channels, rows ascending.
template <int kVecs, class LoadRow>
HWY_INLINE void add_loaded_rows(const float* weights, std::int64_t weight_stride, int n_rows,
                                std::int64_t sum_stride, float* sums, const LoadRow& load_row) {
  const DF32 d;
  constexpr int kStep = static_cast<int>(kLanes);
  VF32 totals[kPackedHeads][kVecs];
  for (int h = 0; h < kPackedHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) totals[h][v] = hn::Load(d, sums + h * sum_stride + v * kStep);
  }
  for (int r = 0; r < n_rows; ++r) {
    VF32 values[kVecs];
    load_row(r, values);
    for (int h = 0; h < kPackedHeads; ++h) {
      const auto weight = hn::Set(d, weights[h * weight_stride + r]);
      for (int v = 0; v < kVecs; ++v) totals[h][v] = hn::MulAdd(weight, values[v], totals[h][v]);
    }
  }
  for (int h = 0; h < kPackedHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) hn::Store(totals[h][v], d, sums + h * sum_stride + v * kStep);
  }
}

// kVecs vectors of channels from `channel` on, all of one group, or all rotated.
template <int kVecs>
HWY_INLINE void add_packed_channels(const KvRowFormat& format, const RowAddress* rows, int n_rows,
                                    int channel, const float* weights, std::int64_t weight_stride,
                                    std::int64_t sum_stride, float* sums) {
  const DF32 d;
  const DU32 d_u32;
  constexpr int kStep = static_cast<int>(kLanes);
  if (channel < format.nope) {
    const CodeLanes first = code_lanes<1>();
    CodeLanes lanes[kVecs];
    for (int v = 0; v < kVecs; ++v) lanes[v] = first.after(v * kStep);
    const auto wanted = hn::FirstN(DCodes(), static_cast<std::size_t>(kVecs) * kLanes);
    const int group = channel / KvRowFormat::kGroup;
    add_loaded_rows<kVecs>(
        weights, weight_stride, n_rows, sum_stride, sums, [&](int r, VF32* values) HWY_ATTR {
          const auto* codes = reinterpret_cast<const std::uint8_t*>(rows[r].data) + channel;
          const E4m3Bytes bytes = look_up_e4m3(hn::MaskedLoad(wanted, DCodes(), codes));
          const auto scale =
              hn::Set(d, decode_e8m0(static_cast<std::uint8_t>(rows[r].scales[group])));
          for (int v = 0; v < kVecs; ++v) values[v] = hn::Mul(bytes.floats(lanes[v]), scale);
        });
    return;
  }
  const int at = format.nope + 2 * (channel - format.nope);
  const hn::Rebind<std::uint16_t, DF32> d_u16;
  add_loaded_rows<kVecs>(
      weights, weight_stride, n_rows, sum_stride, sums, [&](int r, VF32* values) HWY_ATTR {
        const auto* bits = reinterpret_cast<const std::uint16_t*>(rows[r].data + at);
        for (int v = 0; v < kVecs; ++v) {
          const auto wide = hn::PromoteTo(d_u32, hn::LoadU(d_u16, bits + v * kStep));
          values[v] = hn::BitCast(d, hn::ShiftLeft<16>(wide));
        }
      });
}

// Adds `channels` of the rows, whole vectors, to `sums`, which begin with the first of them.
HWY_INLINE void add_packed_rows(const KvRowFormat& format, const RowAddress* rows, int n_rows,
                                const Channels& channels, const float* weights,
                                std::int64_t weight_stride, std::int64_t sum_stride, float* sums) {
  constexpr int kStep = static_cast<int>(kLanes);
  for (int c = channels.begin; c < channels.end();) {
    const int end_of_piece = c < format.nope ? round_up(c + 1, KvRowFormat::kGroup)
                                             : std::min(c + KvRowFormat::kGroup, format.width());
    const int n_vecs = (std::min(end_of_piece, channels.end()) - c) / kStep;
    float* out = sums + (c - channels.begin);
    const auto add = [&](auto n) HWY_ATTR {
      add_packed_channels<decltype(n)::value>(format, rows, n_rows, c, weights, weight_stride,
                                              sum_stride, out);
    };
    if (n_vecs == 4) add(std::integral_constant<int, 4>());
    if (n_vecs == 3) add(std::integral_constant<int, 3>());
    if (n_vecs == 2) add(std::integral_constant<int, 2>());
    if (n_vecs == 1) add(std::integral_constant<int, 1>());
    c += n_vecs * kStep;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();
#endif

#endif
