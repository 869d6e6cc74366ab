#include "ops/op_test_util.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "backend/ref/weight.h"
#include "backend/registry.h"
#include "base/check.h"
#include "base/rng.h"
#include "ops/uploading_backend.h"
#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"

namespace precis {
namespace {

constexpr double kSigmas = 6;
// A rounding error is uniform within half a unit in the last place: std = 2^-24 / √3 of the value.
const double kRoundoffSigma = 0x1p-24 / std::sqrt(3.0);

std::vector<std::string> instruction_sets() {
  std::vector<std::string> out;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni") &&
      __builtin_cpu_supports("avx512bitalg")) {
    out.emplace_back("avx512");
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) out.emplace_back("avx2");
#endif
  out.emplace_back("baseline");
  return out;
}

template <typename T>
void append_bytes(std::vector<std::uint8_t>& out, const T& value) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

}  // namespace

bool has_gpu() {
  const std::vector<std::string> names = backend_names();
  return std::find(names.begin(), names.end(), "cuda") != names.end();
}

void PrintTo(const BackendCase& which, std::ostream* out) {
  *out << which.name << which.isa;
}

std::vector<BackendCase> backend_cases() {
  std::vector<BackendCase> cases;
  for (const std::string& name : backend_names()) {
    if (name != "cpu") {
      cases.push_back({name, ""});
      continue;
    }
    for (const std::string& isa : instruction_sets()) cases.push_back({name, isa});
  }
  return cases;
}

std::string backend_case_name(const testing::TestParamInfo<BackendCase>& info) {
  return info.param.name + (info.param.isa.empty() ? "" : "_" + info.param.isa);
}

TestBackend::TestBackend(const BackendCase& which, int n_threads)
    : threads_(std::make_unique<ThreadPool>(n_threads)) {
  const char* before = std::getenv("PRECIS_FORCE_ISA");
  const std::string saved = before == nullptr ? "" : before;
  if (!which.isa.empty()) setenv("PRECIS_FORCE_ISA", which.isa.c_str(), 1);
  Result<std::unique_ptr<Backend>> made = make_backend(which.name, *threads_);
  if (before == nullptr) {
    unsetenv("PRECIS_FORCE_ISA");
  } else {
    setenv("PRECIS_FORCE_ISA", saved.c_str(), 1);
  }
  PRECIS_CHECK(made.ok());
  backend_ = std::move(made).value();
  if (!backend_->host_readable()) backend_ = make_uploading_backend(std::move(backend_));
  PRECIS_CHECK_EQ(backend_->name(), which.name);
  if (!which.isa.empty()) PRECIS_CHECK_EQ(backend_->isa(), which.isa);
}

std::vector<float> small_ints(std::int64_t n, std::uint64_t seed, int limit) {
  std::vector<float> out(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t bits = random_bits(seed, i);
    const auto magnitude = static_cast<float>(1 + (bits >> 1) % limit);
    out[i] = bits & 1 ? magnitude : -magnitude;
  }
  return out;
}

std::vector<float> uniform(std::int64_t n, std::uint64_t seed, float low, float high) {
  std::vector<float> out(n);
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(low + (high - low) * random_unit(seed, i));
  }
  return out;
}

std::vector<float> activations(std::int64_t n, std::uint64_t seed, float spread) {
  std::vector<float> out = uniform(n, seed, -spread, spread);
  for (float& value : out) value = round_to_bf16(value);
  return out;
}

std::vector<std::int32_t> random_ints(std::int64_t n, std::uint64_t seed, int below) {
  std::vector<std::int32_t> out(n);
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<std::int32_t>(random_bits(seed, i) % below);
  }
  return out;
}

WeightSource TestWeight::source() const {
  return {format,
          n_out,
          n_in,
          reinterpret_cast<const std::byte*>(codes.data()),
          scales.empty() ? nullptr : scales.data(),
          block_out,
          block_in};
}

std::vector<float> TestWeight::decoded() const {
  const ref::RefWeight weight(source());
  std::vector<float> out;
  for (std::int64_t n = 0; n < n_out; ++n) {
    const std::span<const float> row = weight.row(n);
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

TestWeight f32_weight(const std::vector<float>& values, std::int64_t n_out, std::int64_t n_in) {
  PRECIS_CHECK_EQ(std::ssize(values), n_out * n_in);
  TestWeight out{WeightFormat::kF32, n_out, n_in, {}, {}};
  for (const float value : values) append_bytes(out.codes, value);
  return out;
}

TestWeight make_weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in, Fill fill,
                       std::uint64_t seed) {
  TestWeight out{format, n_out, n_in, {}, {}};
  const std::int64_t n = n_out * n_in;
  const std::vector<float> values =
      fill == Fill::kIntegers ? small_ints(n, seed) : uniform(n, seed, -1, 1);
  if (format == WeightFormat::kF32) return f32_weight(values, n_out, n_in);
  if (format == WeightFormat::kBf16) {
    for (const float value : values) append_bytes(out.codes, bf16(value).bits);
    return out;
  }
  const bool is_fp8 = format == WeightFormat::kFp8Block;
  out.block_out = is_fp8 ? 128 : 1;
  out.block_in = is_fp8 ? 128 : 32;
  const auto blocks = [](std::int64_t size, int block) { return (size + block - 1) / block; };
  const std::int64_t n_scales = blocks(n_out, out.block_out) * blocks(n_in, out.block_in);
  for (std::int64_t i = 0; i < n_scales; ++i) {
    const std::uint64_t bits = random_bits(seed + 1, i);
    out.scales.push_back(fill == Fill::kIntegers ? 127 + bits % 2 : 124 + bits % 7);
  }
  for (std::int64_t i = 0; i < n; i += is_fp8 ? 1 : 2) {
    if (is_fp8) {
      const std::uint8_t code = random_bits(seed, i) & 0xff;
      const bool is_nan = (code & kE4m3Nan) == kE4m3Nan;
      out.codes.push_back(fill == Fill::kIntegers ? encode_e4m3(values[i]) : is_nan ? 0 : code);
    } else if (fill == Fill::kIntegers) {
      out.codes.push_back(pack_e2m1(encode_e2m1(values[i]), encode_e2m1(values[i + 1])));
    } else {
      out.codes.push_back(random_bits(seed, i) & 0xff);
    }
  }
  return out;
}

TestPool::TestPool(std::int64_t n_rows, int rows_per_page, int data_bytes, int scale_bytes)
    : n_rows_(n_rows) {
  constexpr std::int64_t kOffset = 8;  // rows need not start with an allocation
  const std::int64_t n_pages = (n_rows + rows_per_page - 1) / rows_per_page;
  const std::int64_t page_bytes =
      2 * kOffset + std::int64_t{rows_per_page} * (data_bytes + scale_bytes);
  pages_.resize(std::max<std::int64_t>(1, n_pages));
  for (std::vector<std::byte>& page : pages_) {
    page.resize(page_bytes);
    page_starts_.push_back(page.data() + kOffset);
  }
  view_ = {page_starts_.data(), rows_per_page, data_bytes, scale_bytes};
}

TestPool::TestPool(std::int64_t n_rows, int rows_per_page, const KvRowFormat& format)
    : TestPool(n_rows, rows_per_page, format.data_bytes(), format.scale_bytes()) {}

TestPool::TestPool(std::int64_t n_rows, int rows_per_page, const IndexRowFormat& format)
    : TestPool(n_rows, rows_per_page, format.data_bytes(), format.scale_bytes()) {}

std::vector<std::uint8_t> TestPool::bytes() const {
  std::vector<std::uint8_t> out;
  for (std::int64_t row = 0; row < n_rows_; ++row) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(view_.data(row));
    const auto* scales = reinterpret_cast<const std::uint8_t*>(view_.scales(row));
    out.insert(out.end(), data, data + view_.data_bytes);
    out.insert(out.end(), scales, scales + view_.scale_bytes);
  }
  return out;
}

RopeTable TestRope::slice(std::int64_t begin, std::int64_t count) const {
  return {mat(values, n, width).slice_rows(begin, count), first_position + begin * stride, stride};
}

TestRope real_rope(std::int64_t n, int width, std::int64_t first_position, std::int64_t stride) {
  TestRope out{std::vector<float>(n * width), n, width, first_position, stride};
  fill_rope_table(rope_frequencies(width, 10000, {}), first_position, stride,
                  mat(out.values, n, width));
  return out;
}

TestRope quarter_turns(std::int64_t n, int width, std::uint64_t seed) {
  TestRope out{std::vector<float>(n * width), n, width};
  const int n_pairs = width / 2;
  for (std::int64_t i = 0; i < n * n_pairs; ++i) {
    constexpr float kCos[] = {1, 0, -1, 0};
    const int turns = static_cast<int>(random_bits(seed, i) % 4);
    float* row = out.values.data() + i / n_pairs * width;
    row[i % n_pairs] = kCos[turns];
    row[n_pairs + i % n_pairs] = kCos[(turns + 3) % 4];
  }
  return out;
}

double chain_tolerance(std::span<const float> a, std::span<const float> b) {
  constexpr std::size_t kBlock = 128;
  double squares = 0;
  double total = 0;
  for (std::size_t begin = 0; begin < a.size(); begin += kBlock) {
    double partial = 0;
    for (std::size_t i = begin; i < std::min(begin + kBlock, a.size()); ++i) {
      const double term = static_cast<double>(a[i]) * b[i];
      partial += term;
      squares += term * term + partial * partial;
    }
    total += partial;
    squares += total * total;
  }
  return kSigmas * kRoundoffSigma * std::sqrt(squares);
}

double norm_tolerance(std::int64_t width) {
  // Positive terms: a lane of n/4 partial sums, each at most the whole, halved by the square root.
  const double sum_error = kSigmas * kRoundoffSigma * std::sqrt(static_cast<double>(width) / 4 + 4);
  constexpr int kOtherRoundings = 6;  // mean, eps, root, reciprocal, two products
  return sum_error / 2 + kOtherRoundings * 0x1p-24;
}

void expect_within(std::span<const float> got, std::span<const float> want,
                   const std::function<double(std::size_t)>& bound, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  std::size_t worst = 0;
  double worst_ratio = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(want[i]) || !std::isfinite(got[i])) {
      const bool same_kind = std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i];
      ASSERT_TRUE(same_kind) << what << ": element " << i << ": got " << got[i] << ", want "
                             << want[i];
      continue;
    }
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    // The result itself is stored as f32.
    const double ratio = error / (bound(i) + std::abs(want[i]) * 0x1p-23 + 1e-37);
    if (ratio > worst_ratio) worst = i, worst_ratio = ratio;
  }
  EXPECT_LE(worst_ratio, 1) << what << ": element " << worst << " of " << got.size() << ": got "
                            << got[worst] << ", want " << want[worst] << ", bound " << bound(worst);
}

void expect_norm_within(std::span<const float> got, std::span<const float> want, double bound,
                        const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  EXPECT_LE(std::sqrt(error), bound * std::sqrt(norm)) << what;
}

void for_each_chunk(std::int64_t n, std::int64_t chunk,
                    const std::function<void(std::int64_t, std::int64_t)>& body) {
  for (std::int64_t begin = 0; begin < n; begin += chunk) body(begin, std::min(chunk, n - begin));
}

}  // namespace precis
