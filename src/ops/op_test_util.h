// What the operation tests share: the backends of this machine, test data, packed rows and the
// comparisons.
//
// Integers judge indexing: their sums are exact, so results are compared bit for bit.  Random data
// judges rounding, against bounds that follow from the terms.  Every test runs on every backend and
// on every instruction set that this processor has.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/threads.h"
#include "ops/backend.h"

namespace precis {

struct BackendCase {
  std::string name;
  std::string isa;  // forced through PRECIS_FORCE_ISA; empty where the backend has only one
};
void PrintTo(const BackendCase& which, std::ostream* out);
/// Whether "cuda" is one of this machine's backends.
bool has_gpu();
/// A test that is skipped where there is no GPU.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_gpu()) GTEST_SKIP() << "no GPU";
  }
};

/// "ref", and each other backend once per instruction set of this processor.
std::vector<BackendCase> backend_cases();
std::string backend_case_name(const testing::TestParamInfo<BackendCase>& info);

/// A backend with its threads.  Construction ends the program unless exactly `which` runs.
class TestBackend {
 public:
  explicit TestBackend(const BackendCase& which, int n_threads = 2);
  Backend& operator*() const { return *backend_; }
  Backend* operator->() const { return backend_.get(); }

 private:
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<Backend> backend_;
};

class OpTest : public testing::TestWithParam<BackendCase> {
 protected:
  TestBackend backend_{GetParam()};
  TestBackend ref_{BackendCase{"ref", ""}};
};

#define PRECIS_OP_SUITE(Suite)    \
  class Suite : public OpTest {}; \
  INSTANTIATE_TEST_SUITE_P(Backends, Suite, testing::ValuesIn(backend_cases()), backend_case_name)

// ---- Test data: a pure function of the seed.

/// Integers in -limit … limit without 0.
std::vector<float> small_ints(std::int64_t n, std::uint64_t seed, int limit = 3);
/// Uniform in [low, high).
std::vector<float> uniform(std::int64_t n, std::uint64_t seed, float low, float high);
/// Uniform in ±spread, rounded to bf16: what activations are.
std::vector<float> activations(std::int64_t n, std::uint64_t seed, float spread = 2);
std::vector<std::int32_t> random_ints(std::int64_t n, std::uint64_t seed, int below);

template <typename T>
Mat<T> mat(std::vector<T>& values, std::int64_t rows, std::int64_t cols) {
  return {values.data(), rows, cols};
}
template <typename T>
Mat<const T> mat(const std::vector<T>& values, std::int64_t rows, std::int64_t cols) {
  return {values.data(), rows, cols};
}

enum class Fill : std::uint8_t { kIntegers, kRandom };

/// A checkpoint matrix that owns its bytes.
struct TestWeight {
  WeightFormat format = WeightFormat::kF32;
  std::int64_t n_out = 0;
  std::int64_t n_in = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  int block_out = 1;
  int block_in = 1;

  WeightSource source() const;
  std::vector<float> decoded() const;  // [n_out, n_in]
};
/// kIntegers: values ±1, ±2, ±3 times scales 1 or 2; kRandom: any finite code, scales 2^-3 … 2^3.
TestWeight make_weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in, Fill fill,
                       std::uint64_t seed);
TestWeight f32_weight(const std::vector<float>& values, std::int64_t n_out, std::int64_t n_in);

/// Zeroed pages of packed rows; page starts are only 8-byte aligned, as in kv/.
class TestPool {
 public:
  TestPool(std::int64_t n_rows, int rows_per_page, int data_bytes, int scale_bytes);
  TestPool(std::int64_t n_rows, int rows_per_page, const KvRowFormat& format);
  TestPool(std::int64_t n_rows, int rows_per_page, const IndexRowFormat& format);
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;

  const RowPool& view() const { return view_; }
  std::int64_t n_rows() const { return n_rows_; }
  /// Data and scale parts of every row, one after the other.
  std::vector<std::uint8_t> bytes() const;
  /// Everything that the pages hold, the space around the rows included.
  const std::vector<std::vector<std::byte>>& pages() const { return pages_; }

 private:
  std::int64_t n_rows_;
  std::vector<std::vector<std::byte>> pages_;
  std::vector<std::byte*> page_starts_;
  RowPool view_;
};

/// A rope table that owns its values.
struct TestRope {
  std::vector<float> values;
  std::int64_t n = 0;
  int width = 0;
  std::int64_t first_position = 0;
  std::int64_t stride = 1;

  RopeTable table() const { return slice(0, n); }
  RopeTable slice(std::int64_t begin, std::int64_t count) const;
};
TestRope real_rope(std::int64_t n, int width, std::int64_t first_position, std::int64_t stride = 1);
/// Multiples of 90°: cosines and sines are 0 and ±1, so that rotating integers is exact.
TestRope quarter_turns(std::int64_t n, int width, std::uint64_t seed);

// ---- Comparisons.

/// Six standard deviations of the rounding of Σ a·b added in ascending order in blocks of 128:
/// each product and each partial sum is off by a uniform error of at most half a unit in its last
/// place.
double chain_tolerance(std::span<const float> a, std::span<const float> b);

/// Relative six-sigma error of 1 / rms over `width` values, summed in 16 or fewer lanes, and of the
/// product with it.
double norm_tolerance(std::int64_t width);

/// Every value within its bound; where `want` is not finite, `got` must be the same kind of value.
void expect_within(std::span<const float> got, std::span<const float> want,
                   const std::function<double(std::size_t)>& bound, const std::string& what);

/// ‖got − want‖ <= bound · ‖want‖.
void expect_norm_within(std::span<const float> got, std::span<const float> want, double bound,
                        const std::string& what);

/// At most a share of the elements differs: for results that are rounded to codes or bf16, where an
/// error below the tolerance rarely, but sometimes, crosses a rounding boundary.
template <typename T>
void expect_few_differ(const std::vector<T>& got, const std::vector<T>& want, double max_share,
                       const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  std::size_t n_differ = 0;
  for (std::size_t i = 0; i < got.size(); ++i) n_differ += got[i] != want[i];
  EXPECT_LE(n_differ, 2 + max_share * static_cast<double>(got.size())) << what;
}

template <typename T>
void expect_same_bits(const std::vector<T>& got, const std::vector<T>& want,
                      const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(T)) == 0) continue;
    ADD_FAILURE() << what << ": element " << i << " of " << got.size() << ": got " << +got[i]
                  << ", want " << +want[i];
    return;
  }
}

/// Calls body(begin, count) for consecutive pieces of at most `chunk` of n items.
void for_each_chunk(std::int64_t n, std::int64_t chunk,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

/// The promises that hold bit for bit.  run(backend, chunk) computes n_tokens tokens, at most
/// `chunk` in a call, and returns all results: they may depend neither on the cut, nor on the
/// number of threads, nor on the instruction set where both have fused multiply-add.
template <typename Run>
void expect_invariant(const BackendCase& which, std::int64_t n_tokens, const Run& run) {
  const TestBackend backend(which, 2);
  const auto want = run(*backend, n_tokens);
  expect_same_bits(run(*backend, n_tokens), want, "the same call again");
  expect_same_bits(run(*backend, 1), want, "one token a call");
  expect_same_bits(run(*backend, 7), want, "seven tokens a call");
  expect_same_bits(run(*TestBackend(which, 1), n_tokens), want, "one thread");
  if (which.isa != "avx512") return;
  expect_same_bits(run(*TestBackend({which.name, "avx2"}), n_tokens), want, "avx2 against avx512");
}

/// Token counts around the tile sizes of kernels.
inline constexpr std::int64_t kTokenCounts[] = {0, 1, 2, 15, 16, 17, 33};

}  // namespace precis
