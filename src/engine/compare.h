// Measures of agreement between what was computed and what was expected.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <span>
#include <vector>

#include "base/check.h"
#include "tensor/view.h"

namespace precis {

/// ‖x − y‖ / ‖y‖ of each row, collected.  A NaN anywhere makes its row infinitely wrong.
class RelativeErrors {
 public:
  void add(Mat<const float> got, Mat<const float> want) {
    PRECIS_CHECK_EQ(got.cols, want.cols);
    for (std::int64_t r = 0; r < got.rows; ++r) {
      double difference = 0;
      double norm = 0;
      for (std::int64_t c = 0; c < got.cols; ++c) {
        const double delta = double{got(r, c)} - want(r, c);
        difference += delta * delta;
        norm += double{want(r, c)} * want(r, c);
      }
      const double relative = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
      values_.push_back(std::isnan(relative) ? std::numeric_limits<double>::infinity() : relative);
    }
  }

  /// The value below which a share `q` of the rows lies; 0 for no rows.
  double quantile(double q) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(sorted.size() - 1));
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    return sorted[static_cast<std::size_t>(at)];
  }

 private:
  std::vector<double> values_;
};

/// The share of elements off by more than one part in 10⁵ of the expected value, or of the expected
/// row's root mean square where the value is smaller.  Rotation subtracts products of the row's
/// size, so an f32 error there does not shrink with a result that happens to lie near zero; a
/// flipped FP8 or FP4 code is at least 1/16 of its value and counts either way.
class ElementDifferences {
 public:
  void add(std::span<const float> got, std::span<const float> want) {
    PRECIS_CHECK_EQ(got.size(), want.size());
    double sum_sq = 0;
    for (const float value : want) sum_sq += double{value} * value;
    const double rms =
        std::sqrt(sum_sq / static_cast<double>(std::max<std::size_t>(want.size(), 1)));
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double size = std::max(std::abs(double{want[i]}), rms);
      n_differ_ += !(std::abs(double{got[i]} - want[i]) <= kTolerance * size);
    }
    n_ += static_cast<std::int64_t>(got.size());
  }
  double share() const {
    return n_ == 0 ? 0 : static_cast<double>(n_differ_) / static_cast<double>(n_);
  }

 private:
  static constexpr double kTolerance = 1e-5;
  std::int64_t n_ = 0;
  std::int64_t n_differ_ = 0;
};

/// The share of expected rows that were selected; −1 entries count for nothing.  Where the last
/// places go to rows of one score, any of them is right: an expected row counts as selected if it
/// scores what the lowest selected row does.
class SelectionOverlap {
 public:
  using ScoreFn = std::function<double(std::int64_t token, std::int32_t row)>;

  void add(Mat<const std::int32_t> got, Mat<const std::int32_t> want, const ScoreFn& score) {
    for (std::int64_t t = 0; t < got.rows; ++t) {
      const std::set<std::int32_t> selected(got.row(t), got.row(t) + got.cols);
      for (std::int64_t c = 0; c < want.cols; ++c) {
        const std::int32_t row = want(t, c);
        if (row < 0) continue;
        ++n_wanted_;
        n_found_ += selected.contains(row) || ties(t, row, got, score);
      }
    }
  }
  void add(const SelectionOverlap& other) {
    n_wanted_ += other.n_wanted_;
    n_found_ += other.n_found_;
  }
  double share() const {
    return n_wanted_ == 0 ? 1 : static_cast<double>(n_found_) / static_cast<double>(n_wanted_);
  }

 private:
  static bool ties(std::int64_t t, std::int32_t row, Mat<const std::int32_t> got,
                   const ScoreFn& score) {
    const std::int32_t lowest = got(t, got.cols - 1);
    return lowest >= 0 && score(t, row) == score(t, lowest);
  }

  std::int64_t n_wanted_ = 0;
  std::int64_t n_found_ = 0;
};

/// Rows whose largest element stands at the same place in both.
inline std::int64_t count_argmax_agreement(Mat<const float> got, Mat<const float> want) {
  std::int64_t n = 0;
  for (std::int64_t r = 0; r < got.rows; ++r) {
    n += std::max_element(got.row(r), got.row(r) + got.cols) - got.row(r) ==
         std::max_element(want.row(r), want.row(r) + want.cols) - want.row(r);
  }
  return n;
}

}  // namespace precis
