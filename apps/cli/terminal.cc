#include "cli/terminal.h"

#include <csignal>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/format.h"

namespace precis::cli {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kBarInterval{0.1};
constexpr Seconds kLineInterval{5.0};
constexpr int kBarCells = 24;

// Set by the signal handler, which may do nothing else.
volatile std::sig_atomic_t interrupt_count = 0;

void on_interrupt(int signal_number) {
  if (interrupt_count > 0) {
    std::signal(signal_number, SIG_DFL);
    std::raise(signal_number);
  }
  interrupt_count = 1;
}

std::string_view escape(Style style) {
  switch (style) {
    case Style::kHighlight: return "\033[1;33m";
    case Style::kDim: return "\033[2m";
    case Style::kGood: return "\033[32m";
    case Style::kBad: return "\033[31m";
  }
  return "";
}

}  // namespace

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}
bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) == 1;
}

std::string styled(std::string_view text, Style style) {
  if (!stdout_is_terminal()) return std::string(text);
  return fmt::format("{}{}\033[0m", escape(style), text);
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  // Without SA_RESTART a blocked read returns, so Ctrl-C at a prompt is seen at once.
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() {
  return interrupt_count > 0;
}
void clear_interrupt() {
  interrupt_count = 0;
}

ProgressFn WorkProgress::callback() {
  return [this](const Progress& progress) {
    if (output_ == ProgressOutput::kShow) show(progress);
    return !interrupted();
  };
}

std::string WorkProgress::figures(const Progress& progress, double per_second) const {
  const auto amount = [&](std::int64_t n) {
    return unit_ == ProgressUnit::kBytes ? format_bytes(n) : format_count(n);
  };
  const std::int64_t n_left = progress.total_tokens - progress.done_tokens;
  const char* const unit = unit_ == ProgressUnit::kBytes ? "" : " tokens";
  return fmt::format(
      "{} / {}{}, {}{}/s, {} left", amount(progress.done_tokens), amount(progress.total_tokens),
      unit, amount(static_cast<std::int64_t>(per_second)), unit,
      per_second > 0 ? format_seconds(static_cast<double>(n_left) / per_second) : "?");
}

void WorkProgress::show(const Progress& progress) {
  const bool bar = isatty(STDERR_FILENO) == 1;
  const Clock::time_point now = Clock::now();
  const Seconds elapsed = now - shown_at_;
  if (elapsed < (bar ? kBarInterval : kLineInterval)) return;

  const double speed = tokens_per_second(progress.done_tokens - shown_tokens_, elapsed.count());
  const std::string figures = this->figures(progress, speed);
  if (bar) {
    const auto n_full = static_cast<int>(kBarCells * progress.done_tokens / progress.total_tokens);
    fmt::print(stderr, "\r\033[K[{:#<{}}{:.<{}}] {}", "", n_full, "", kBarCells - n_full, figures);
    std::fflush(stderr);
    on_screen_ = true;
  } else {
    fmt::print(stderr, "{}\n", figures);
  }
  shown_at_ = now;
  shown_tokens_ = progress.done_tokens;
}

void WorkProgress::clear() {
  if (!on_screen_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  on_screen_ = false;
}

}  // namespace precis::cli
