#include "sampling/stop_text.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace precis {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) PRECIS_CHECK(!stop.empty());
}

std::string StopText::feed(std::string_view text) {
  if (stopped_) return {};
  pending_ += text;
  // The stop string that is complete first wins; of several that end together, the longest.
  std::size_t first_end = std::string::npos;
  std::size_t first_begin = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t begin = pending_.find(stop);
    if (begin == std::string::npos) continue;
    const std::size_t end = begin + stop.size();
    if (end < first_end || (end == first_end && begin < first_begin)) {
      first_end = end;
      first_begin = begin;
    }
  }
  if (first_begin != std::string::npos) {
    stopped_ = true;
    pending_.resize(first_begin);
    return std::exchange(pending_, {});
  }
  const std::size_t n_certain = pending_.size() - held_back_bytes();
  std::string certain = pending_.substr(0, n_certain);
  pending_.erase(0, n_certain);
  return certain;
}

std::string StopText::flush() {
  return std::exchange(pending_, {});
}

std::size_t StopText::held_back_bytes() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, pending_.size()); n > longest; --n) {
      if (std::string_view(pending_).ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace precis
