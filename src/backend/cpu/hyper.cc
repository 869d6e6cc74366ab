// hyper_pre, hyper_post, hyper_head: mixing M residual streams.
//
// Mixing values are worked on 16 tokens at a time, lanes = tokens: 20 Sinkhorn rounds of M·M
// divisions would otherwise outweigh the product with fn.  Lanes never meet, and lanes without a
// token are computed and dropped, so a token's result does not depend on its place.
#include <algorithm>

#include "backend/cpu/backend.h"
#include "backend/cpu/weight.h"
#include "base/check.h"

#ifndef PRECIS_CPU_HYPER_SIZES_
#define PRECIS_CPU_HYPER_SIZES_
namespace precis {
namespace {

constexpr int kMaxStreams = 8;
constexpr int kTokenLanes = 16;
// Three lane groups at once, so that fn is read from the L2 cache once for 48 tokens.
constexpr int kHyperTokens = 3 * kTokenLanes;

}  // namespace
}  // namespace precis
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/hyper.cc"
#include <hwy/foreach_target.h>  // must come before the per-target headers

#include "backend/cpu/product.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

constexpr int kMaxMix = kMaxStreams * (2 + kMaxStreams);
static_assert(kTokenLanes == kVirtualLanes);
static_assert(kHyperTokens <= kTileRows);

// Values of 16 tokens: row i holds value i of each, so a register holds one value of its lanes.
template <int kRows>
struct TokenLanes {
  HWY_ALIGN float rows[kRows][kTokenLanes];

  VF32 load(int i, std::size_t part) const { return hn::Load(DF32(), rows[i] + part * kLanes); }
  void store(VF32 v, int i, std::size_t part) { hn::Store(v, DF32(), rows[i] + part * kLanes); }
};
using MixLanes = TokenLanes<kMaxMix>;

// mix[i] = (v · fn_i) · rsqrt(mean(v²) + eps) for up to kHyperTokens tokens, in lane groups.
void mix_tokens(Mat<const float> streams, const CpuWeight& fn, float eps, MixLanes* mix) {
  HWY_ALIGN float products[kTileRows * kTileOutputs];
  const float* rows[kTileRows];
  float scales[kHyperTokens];
  const int n_tokens = static_cast<int>(streams.rows);
  for (int t = 0; t < n_tokens; ++t) {
    rows[t] = streams.row(t);
    scales[t] = inverse_rms(rows[t], static_cast<std::size_t>(streams.cols), eps);
  }
  const int n_mix = static_cast<int>(fn.n_out());
  for (int first = 0; first < n_mix; first += kTileOutputs) {
    const std::int64_t panel = first / kPanelOutputs;
    const auto n_panels =
        static_cast<int>(std::min<std::int64_t>(kTilePanels, fn.n_panels() - panel));
    multiply_tile(fn, panel, n_panels, rows, n_tokens, products);
    const int n = std::min(kTileOutputs, n_mix - first);
    for (int t = 0; t < n_tokens; ++t) {
      for (int i = 0; i < n; ++i) {
        mix[t / kTokenLanes].rows[first + i][t % kTokenLanes] =
            products[t * kTileOutputs + i] * scales[t];
      }
    }
  }
}

// mix · scale + base, the argument of every activation.
VF32 affine(const MixLanes& mix, int i, std::size_t part, const HyperWeights& w, std::size_t kind) {
  const DF32 df;
  return hn::MulAdd(mix.load(i, part), hn::Set(df, w.scale[kind]),
                    hn::Set(df, w.base[static_cast<std::size_t>(i)]));
}

void activate_pre(MixLanes& mix, int n_streams, const HyperWeights& w, float hc_eps) {
  for (int i = 0; i < n_streams; ++i) {
    for (std::size_t part = 0; part < kParts; ++part) {
      const VF32 gate = sigmoid(affine(mix, i, part, w, 0));
      mix.store(hn::Add(gate, hn::Set(DF32(), hc_eps)), i, part);
    }
  }
}

void activate_post(MixLanes& mix, int n_streams, const HyperWeights& w) {
  for (int i = n_streams; i < 2 * n_streams; ++i) {
    for (std::size_t part = 0; part < kParts; ++part) {
      mix.store(hn::Mul(hn::Set(DF32(), 2.0f), sigmoid(affine(mix, i, part, w, 1))), i, part);
    }
  }
}

// Divides n values, `stride` apart, by their sum + eps.
template <int kStreams>
HWY_INLINE void normalize(VF32* HWY_RESTRICT c, int n_streams, int first, int stride, VF32 eps) {
  const int n = kStreams > 0 ? kStreams : n_streams;
  VF32 sum = c[first];
  for (int i = 1; i < n; ++i) sum = hn::Add(sum, c[first + i * stride]);
  sum = hn::Add(sum, eps);
  for (int i = 0; i < n; ++i) c[first + i * stride] = hn::Div(c[first + i * stride], sum);
}

// Row softmax plus eps, then alternating division by column and row sums; columns come last.
template <int kStreams>
HWY_INLINE void sinkhorn(VF32* HWY_RESTRICT c, int n_streams, const HyperParams& params) {
  const DF32 df;
  const int n = kStreams > 0 ? kStreams : n_streams;
  const VF32 eps = hn::Set(df, params.hc_eps);
  for (int i = 0; i < n; ++i) {
    VF32* row = c + i * n;
    VF32 highest = row[0];
    for (int j = 1; j < n; ++j) highest = hn::Max(highest, row[j]);
    for (int j = 0; j < n; ++j) row[j] = exp_f32(hn::Sub(row[j], highest));
    normalize<kStreams>(row, n, 0, 1, hn::Zero(df));
    for (int j = 0; j < n; ++j) row[j] = hn::Add(row[j], eps);
  }
  for (int j = 0; j < n; ++j) normalize<kStreams>(c, n, j, n, eps);
  for (int round = 1; round < params.sinkhorn_iters; ++round) {
    for (int i = 0; i < n; ++i) normalize<kStreams>(c, n, i * n, 1, eps);
    for (int j = 0; j < n; ++j) normalize<kStreams>(c, n, j, n, eps);
  }
}

template <int kStreams>
void activate_comb(MixLanes& mix, int n_streams, const HyperWeights& w, const HyperParams& params) {
  const int n = kStreams > 0 ? kStreams : n_streams;
  for (std::size_t part = 0; part < kParts; ++part) {
    VF32 c[kStreams > 0 ? kStreams * kStreams : kMaxStreams * kMaxStreams];
    for (int i = 0; i < n * n; ++i) c[i] = affine(mix, 2 * n + i, part, w, 2);
    sinkhorn<kStreams>(c, n, params);
    for (int i = 0; i < n * n; ++i) mix.store(c[i], 2 * n + i, part);
  }
}

// x = Σ_i pre[i] · streams[i], streams ascending.
void collapse(const MixLanes& mix, int lane, const Cube<const float>& streams, std::int64_t t,
              Rounding rounding, float* out) {
  const DF32 df;
  const int n_streams = static_cast<int>(streams.planes);
  const auto n = static_cast<std::size_t>(streams.cols);
  for (std::size_t i = 0; i < n; i += kLanes) {
    const bool partial = n - i < kLanes;
    VF32 sum = hn::Zero(df);
    for (int m = 0; m < n_streams; ++m) {
      const float* place = streams.at(t, m) + i;
      const VF32 v = partial ? load_first(place, n - i) : hn::LoadU(df, place);
      sum = hn::MulAdd(hn::Set(df, mix.rows[m][lane]), v, sum);
    }
    sum = round_as(sum, rounding);
    if (partial) {
      store_first(sum, out + i, n - i);
    } else {
      hn::StoreU(sum, df, out + i);
    }
  }
}

// Mixing values of tokens [begin, end), end - begin <= kHyperTokens.
void run_hyper_pre(const HyperPreArgs& a, std::int64_t begin, std::int64_t end) {
  MixLanes mix[kHyperTokens / kTokenLanes] = {};
  const int n_streams = static_cast<int>(a.streams.planes);
  mix_tokens(a.streams.flat().slice_rows(begin, end - begin), as_cpu(*a.weights.fn),
             a.params.norm_eps, mix);
  for (std::int64_t group = begin; group < end; group += kTokenLanes) {
    MixLanes& lanes = mix[(group - begin) / kTokenLanes];
    activate_pre(lanes, n_streams, a.weights, a.params.hc_eps);
    activate_post(lanes, n_streams, a.weights);
    if (n_streams == 4) {
      activate_comb<4>(lanes, n_streams, a.weights, a.params);
    } else {
      activate_comb<0>(lanes, n_streams, a.weights, a.params);
    }
    for (std::int64_t t = group; t < std::min(group + kTokenLanes, end); ++t) {
      const int lane = static_cast<int>(t - group);
      for (int j = 0; j < n_streams; ++j) a.post(t, j) = lanes.rows[n_streams + j][lane];
      for (int i = 0; i < n_streams * n_streams; ++i) {
        a.comb(t, i) = lanes.rows[2 * n_streams + i][lane];
      }
      collapse(lanes, lane, a.streams, t, a.rounding, a.x.row(t));
    }
  }
}

void run_hyper_head(const HyperHeadArgs& a, std::int64_t begin, std::int64_t end) {
  MixLanes mix[kHyperTokens / kTokenLanes] = {};
  mix_tokens(a.streams.flat().slice_rows(begin, end - begin), as_cpu(*a.weights.fn),
             a.params.norm_eps, mix);
  for (std::int64_t group = begin; group < end; group += kTokenLanes) {
    MixLanes& lanes = mix[(group - begin) / kTokenLanes];
    activate_pre(lanes, static_cast<int>(a.streams.planes), a.weights, a.params.hc_eps);
    for (std::int64_t t = group; t < std::min(group + kTokenLanes, end); ++t) {
      collapse(lanes, static_cast<int>(t - group), a.streams, t, a.rounding, a.x.row(t));
    }
  }
}

// The factors of one token, each in all lanes: read from memory again for every column they would
// cost as many loads as there are multiply-adds.
template <int kStreams>
struct PostFactors {
  static constexpr int kMax = kStreams > 0 ? kStreams : kMaxStreams;
  VF32 post[kMax];
  VF32 comb[kMax * kMax];
};

// One vector of columns.  All streams are read before one is written: out may be streams.
template <int kStreams, class Load, class Store>
HWY_INLINE void post_columns(const PostFactors<kStreams>& factors, int n_streams, Rounding rounding,
                             const Load& load, const Store& store) {
  const VF32 f = load(-1);
  VF32 in[PostFactors<kStreams>::kMax];
  for (int i = 0; i < n_streams; ++i) in[i] = load(i);
  for (int j = 0; j < n_streams; ++j) {
    VF32 sum = hn::Mul(factors.post[j], f);
    for (int i = 0; i < n_streams; ++i) {
      sum = hn::MulAdd(factors.comb[i * n_streams + j], in[i], sum);
    }
    store(j, round_as(sum, rounding));
  }
}

template <int kStreams>
void post_token(const HyperPostArgs& a, std::int64_t t) {
  const DF32 df;
  const int n_streams = kStreams > 0 ? kStreams : static_cast<int>(a.streams.planes);
  PostFactors<kStreams> factors;
  for (int j = 0; j < n_streams; ++j) factors.post[j] = hn::Set(df, a.post(t, j));
  for (int i = 0; i < n_streams * n_streams; ++i) factors.comb[i] = hn::Set(df, a.comb(t, i));
  const float* f = a.f.row(t);
  const float* in = a.streams.at(t, 0);
  float* out = a.out.at(t, 0);
  const auto n = static_cast<std::size_t>(a.streams.cols);
  const auto place = [n](int stream) { return static_cast<std::size_t>(stream) * n; };
  std::size_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    post_columns(
        factors, n_streams, a.rounding,
        [&](int i) HWY_ATTR { return hn::LoadU(DF32(), (i < 0 ? f : in + place(i)) + d); },
        [&](int j, VF32 v) HWY_ATTR { hn::StoreU(v, DF32(), out + place(j) + d); });
  }
  if (d < n) {
    post_columns(
        factors, n_streams, a.rounding,
        [&](int i) HWY_ATTR { return load_first((i < 0 ? f : in + place(i)) + d, n - d); },
        [&](int j, VF32 v) HWY_ATTR { store_first(v, out + place(j) + d, n - d); });
  }
}

void run_hyper_post(const HyperPostArgs& a, std::int64_t t) {
  return a.streams.planes == 4 ? post_token<4>(a, t) : post_token<0>(a, t);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

// Tokens for each chunk: whole lane groups, and at most what one call takes.
std::int64_t hyper_grain(const HyperWeights& weights, const Cube<const float>& streams) {
  PRECIS_CHECK_LE(streams.planes, kMaxStreams);
  const double group_ns = product_ns(weights.fn->n_in() * kTileOutputs, kTokenLanes) +
                          static_cast<double>(streams.planes * streams.cols) * kTokenLanes / 8;
  return std::min<std::int64_t>(grain_for(group_ns) * kTokenLanes, kHyperTokens);
}

}  // namespace

void CpuBackend::do_hyper_pre(const HyperPreArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, run_hyper_pre);
  threads_.parallel_for(a.streams.n, hyper_grain(a.weights, a.streams),
                        [&](std::int64_t begin, std::int64_t end, int) { run(a, begin, end); });
}

void CpuBackend::do_hyper_head(const HyperHeadArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, run_hyper_head);
  threads_.parallel_for(a.streams.n, hyper_grain(a.weights, a.streams),
                        [&](std::int64_t begin, std::int64_t end, int) { run(a, begin, end); });
}

void CpuBackend::do_hyper_post(const HyperPostArgs& a) {
  PRECIS_CHECK_LE(a.streams.planes, kMaxStreams);
  const auto run = PRECIS_CPU_ENTRY(isa_, run_hyper_post);
  for_each(threads_, a.streams.n, static_cast<double>(a.streams.planes * a.streams.cols) / 4,
           [&](std::int64_t t) { run(a, t); });
}

}  // namespace precis
#endif  // HWY_ONCE
