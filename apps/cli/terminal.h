// The terminal: whether there is one, its colours, the progress of a prefill, Ctrl-C.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "precis/session.h"

namespace precis::cli {

bool stdin_is_terminal();
bool stdout_is_terminal();

enum class Style : std::uint8_t { kHighlight, kDim, kGood, kBad };

/// `text` in a style where stdout is a terminal, else unchanged.
std::string styled(std::string_view text, Style style);

/// From now on the first Ctrl-C only sets a flag that interrupted() reads; a second one before
/// clear_interrupt() ends the process as usual.
void catch_interrupts();
bool interrupted();
void clear_interrupt();

enum class ProgressOutput : std::uint8_t { kShow, kHide };

/// What a progress display counts.
enum class ProgressUnit : std::uint8_t { kTokens, kBytes };

/// Shows on stderr how far a prefill or a file has come: a bar on a terminal, else a line every few seconds.
class WorkProgress {
 public:
  explicit WorkProgress(ProgressOutput output, ProgressUnit unit = ProgressUnit::kTokens)
      : output_(output), unit_(unit) {}
  ~WorkProgress() { clear(); }
  WorkProgress(const WorkProgress&) = delete;
  WorkProgress& operator=(const WorkProgress&) = delete;

  /// For Session::sync; it stops the sync after Ctrl-C.  The object must outlive the sync.
  ProgressFn callback();

 private:
  using Clock = std::chrono::steady_clock;

  void show(const Progress& progress);
  void clear();
  std::string figures(const Progress& progress, double per_second) const;

  ProgressOutput output_;
  ProgressUnit unit_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_at_ = start_;
  std::int64_t shown_tokens_ = 0;
  bool on_screen_ = false;
};

}  // namespace precis::cli
