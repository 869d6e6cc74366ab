// Scores and sums of one token straight from packed rows: codes become floats in registers, where a tile
// of floats would be used once.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <hwy/highway.h>

#include "backend/cpu/attend_sums.h"
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

inline constexpr int kPackedRows = kScoreVecs * static_cast<int>(kLanes);  // scored together
inline constexpr int kPackedHeads = 4;

/// The released rows, whose channels fill whole vectors.
HWY_INLINE bool is_packed_format(const KvRowFormat& format) {
  return format.nope_storage == NopeStorage::kE4m3Scales8 &&
         format.rope_storage == RopeStorage::kBf16 && format.nope % KvRowFormat::kGroup == 0 &&
         format.rope % static_cast<int>(2 * kLanes) == 0;
}

// `rows` has kPackedRows addresses.
HWY_INLINE void score_packed_rows(const KvRowFormat& format, const RowAddress* rows, const float* q,
                                  std::int64_t q_stride, float scale, std::int64_t score_stride,
                                  float* scores) {
  const DU32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  constexpr int kPieceWords = static_cast<int>(kLanes);
  constexpr int kPieceBytes = 4 * kPieceWords;
  static_assert(kPieceBytes == KvRowFormat::kGroup);
  HWY_ALIGN std::uint32_t words[kPieceWords * kPackedRows];
  const auto transpose = [&](int begin) HWY_ATTR {
    for (int half = 0; half < kScoreVecs; ++half) {
      for_transposed_words(rows + half * kRows, begin, begin + kPieceBytes,
                           [&](int w, VU32 word) HWY_ATTR {
                             hn::Store(word, d, words + w * kPackedRows + half * kRows);
                           });
    }
  };
  const auto word_of = [&](int w, int half)
                           HWY_ATTR { return hn::Load(d, words + w * kPackedRows + half * kRows); };
  ScoreSums<kPackedHeads> sums(q, q_stride);
  const auto end_piece = [&](int channel) HWY_ATTR {
    if (channel % kSumBlock == 0 || channel == format.width()) sums.end_block();
  };
  for (int begin = 0; begin < format.nope; begin += kPieceBytes) {
    transpose(begin);
    const VF32 scales_0 = gather_scales(rows, begin / kPieceBytes, e8m0_scale);
    const VF32 scales_1 = gather_scales(rows + kRows, begin / kPieceBytes, e8m0_scale);
    for (int w = 0; w < kPieceWords; ++w) {
      VF32 rows_0[4];
      VF32 rows_1[4];
      decode_e4m3_words(word_of(w, 0), [&](int i, VF32 v) HWY_ATTR { rows_0[i] = v; });
      decode_e4m3_words(word_of(w, 1), [&](int i, VF32 v) HWY_ATTR { rows_1[i] = v; });
      for (int i = 0; i < 4; ++i) {
        sums.add(begin + 4 * w + i, hn::Mul(rows_0[i], scales_0), hn::Mul(rows_1[i], scales_1));
      }
    }
    end_piece(begin + kPieceBytes);
  }
  for (int begin = 0; begin < format.rope; begin += 2 * kPieceWords) {
    transpose(format.nope + 2 * begin);
    const int first = format.nope + begin;
    for (int w = 0; w < kPieceWords; ++w) {
      const Bf16Pair rows_0 = decode_bf16_words(word_of(w, 0));
      const Bf16Pair rows_1 = decode_bf16_words(word_of(w, 1));
      sums.add(first + 2 * w, rows_0.even, rows_1.even);
      sums.add(first + 2 * w + 1, rows_0.odd, rows_1.odd);
    }
    end_piece(first + 2 * kPieceWords);
  }
  sums.store(scale, score_stride, scores);
}

// kVecs vectors of channels from `channel` on, all of one group, or all rotated.
template <int kVecs>
HWY_INLINE void add_packed_channels(const KvRowFormat& format, const RowAddress* rows, int n_rows,
                                    int channel, const float* weights, std::int64_t weight_stride,
                                    std::int64_t sum_stride, float* sums) {
  constexpr int kStep = static_cast<int>(kLanes);
  if (channel < format.nope) {
    const CodeLanes first = code_lanes<1>();
    const int group = channel / KvRowFormat::kGroup;
    add_rows<kPackedHeads, kVecs>(
        weights, weight_stride, n_rows, sum_stride, sums, [&](int r, VF32* values) HWY_ATTR {
          const auto* codes = reinterpret_cast<const std::uint8_t*>(rows[r].data) + channel;
          const E4m3Bytes bytes = look_up_e4m3(codes, kVecs * kStep);
          const auto scale = hn::Set(DF32(), e8m0_scale(rows[r], group));
          for (int v = 0; v < kVecs; ++v) {
            values[v] = hn::Mul(bytes.floats(first.after(v * kStep)), scale);
          }
        });
    return;
  }
  const int at = format.nope + 2 * (channel - format.nope);
  add_rows<kPackedHeads, kVecs>(
      weights, weight_stride, n_rows, sum_stride, sums, [&](int r, VF32* values) HWY_ATTR {
        const auto* bits = reinterpret_cast<const std::uint16_t*>(rows[r].data + at);
        for (int v = 0; v < kVecs; ++v) values[v] = decode_bf16_lanes(bits + v * kStep);
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
