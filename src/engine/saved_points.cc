#include "engine/saved_points.h"

#include <limits>
#include <utility>

#include "base/check.h"

namespace precis {

void SavedPoints::add(SavedPoint point) {
  drop_after(point.frontier.n_tokens);
  if (!points_.empty() && points_.back().frontier.n_tokens == point.frontier.n_tokens) {
    points_.back() = std::move(point);
    return;
  }
  points_.push_back(std::move(point));
  if (points_.size() > static_cast<std::size_t>(max_points_)) thin();
}

const SavedPoint* SavedPoints::latest_at_or_before(std::int64_t n_tokens) const {
  for (auto it = points_.rbegin(); it != points_.rend(); ++it) {
    if (it->frontier.n_tokens <= n_tokens) return &*it;
  }
  return nullptr;
}

void SavedPoints::drop_after(std::int64_t n_tokens) {
  while (!points_.empty() && points_.back().frontier.n_tokens > n_tokens) points_.pop_back();
}

void SavedPoints::thin() {
  PRECIS_CHECK_LE(3U, points_.size());
  std::size_t closest = 0;
  std::int64_t closest_gap = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 0; i + 2 < points_.size(); ++i) {
    const std::int64_t before = i == 0 ? 0 : points_[i - 1].frontier.n_tokens;
    const std::int64_t gap = points_[i + 1].frontier.n_tokens - before;
    if (gap < closest_gap) {
      closest = i;
      closest_gap = gap;
    }
  }
  points_.erase(points_.begin() + static_cast<std::ptrdiff_t>(closest));
}

std::int64_t SavedPoints::n_bytes() const {
  std::int64_t n_bytes = 0;
  for (const SavedPoint& point : points_) n_bytes += point.n_bytes();
  return n_bytes;
}

}  // namespace precis
