#include "precis/session.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/clock.h"
#include "engine/engine_impl.h"
#include "engine/saved_points.h"
#include "kv/snapshot.h"

namespace precis {
namespace {

std::int64_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return std::mismatch(a.begin(),
                       a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())),
                       b.begin())
             .first -
         a.begin();
}

}  // namespace

struct Session::Impl {
  explicit Impl(Engine::Impl& engine_in)
      : engine(engine_in),
        cache(engine.backend(), engine.model().kv_spec(), *engine.pages, *engine.step_rows,
              engine.max_tokens) {}
  ~Impl() { engine.release_session(); }

  Result<void> check_tokens(std::span<const TokenId> ids) const;
  Result<void> check_length(std::int64_t n_tokens) const;
  void rewind(std::int64_t common, std::int64_t want);
  Result<void> extend(std::span<const TokenId> prompt, const ProgressFn& progress);
  void run(std::span<const TokenId> ids, bool last);
  void record(const SelectionView& view);
  SnapshotIdentity identity() const;
  Result<void> check_saveable() const;

  Engine::Impl& engine;
  KvCache cache;
  std::vector<TokenId> tokens;
  std::vector<float> logits;
  SavedPoints saved{kMaxFrontiers};
  Observe observe = Observe::kOff;
  std::vector<SelectedRows> selected;
  SessionStats stats;
};

Result<void> Session::Impl::check_tokens(std::span<const TokenId> ids) const {
  const std::int64_t vocab_size = engine.info.vocab_size;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("token {} of the prompt: want an id in 0 … {}, found {}", i,
                               vocab_size - 1, ids[i])};
    }
  }
  return {};
}

Result<void> Session::Impl::check_length(std::int64_t n_tokens) const {
  if (n_tokens <= engine.max_tokens) return {};
  return Error{ErrorCode::kBudget,
               fmt::format("the prompt has {} tokens, and this session holds at most {}", n_tokens,
                           engine.max_tokens)};
}

// Puts the session at the last saved point from which `want` tokens can be reached: at or before
// the common prefix, and strictly before `want` unless the point knows its logits.
void Session::Impl::rewind(std::int64_t common, std::int64_t want) {
  const SavedPoint* point = saved.latest_at_or_before(std::min(common, want));
  const std::int64_t target = point == nullptr ? 0 : point->frontier.n_tokens;
  if (point == nullptr) {
    cache.clear();
    logits.clear();
  } else {
    cache.restore_frontier(point->frontier);
    logits = point->logits;
  }
  saved.drop_after(target);
  tokens.resize(static_cast<std::size_t>(target));
  selected.clear();
  stats.n_replayed += common - target;
}

void Session::Impl::record(const SelectionView& view) {
  const std::int64_t last = view.rows.rows - 1;
  SelectedRows rows;
  rows.layer = view.layer;
  rows.ratio = engine.info.sparse_ratio;
  rows.rows.resize(static_cast<std::size_t>(view.rows.cols));
  rows.mass.resize(rows.rows.size());
  engine.backend().copy_out(std::as_writable_bytes(std::span(rows.rows)),
                            reinterpret_cast<const std::byte*>(view.rows.row(last)));
  engine.backend().copy_out(std::as_writable_bytes(std::span(rows.mass)),
                            reinterpret_cast<const std::byte*>(view.mass.row(last)));
  const auto end = std::find(rows.rows.begin(), rows.rows.end(), -1);
  rows.mass.resize(static_cast<std::size_t>(end - rows.rows.begin()));
  rows.rows.erase(end, rows.rows.end());
  selected.push_back(std::move(rows));
}

void Session::Impl::run(std::span<const TokenId> ids, bool last) {
  const auto n = static_cast<std::int64_t>(ids.size());
  cache.reserve(n);
  StepObserver observer;
  selected.clear();
  if (last && observe == Observe::kOn) {
    observer.want_mass = true;
    observer.on_selection = [this](const SelectionView& view) { record(view); };
  }
  const std::array<SequenceStep, 1> step{{{&cache, ids}}};
  engine.model().forward(step, observer);
  tokens.insert(tokens.end(), ids.begin(), ids.end());

  const Mat<const float> row = engine.model().logits(n - 1, 1);
  logits.resize(static_cast<std::size_t>(row.cols));
  engine.backend().copy_out(std::as_writable_bytes(std::span(logits)),
                            reinterpret_cast<const std::byte*>(row.data));
  stats.n_computed += n;
}

Result<void> Session::Impl::extend(std::span<const TokenId> prompt, const ProgressFn& progress) {
  const auto end = static_cast<std::int64_t>(prompt.size());
  const auto start = static_cast<std::int64_t>(tokens.size());
  while (static_cast<std::int64_t>(tokens.size()) < end) {
    const auto at = static_cast<std::int64_t>(tokens.size());
    const std::int64_t n =
        std::min({engine.model().max_step_tokens(), end - at, saved.tokens_to_next_interval(at)});
    run(prompt.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n)), at + n == end);
    if (at + n == end || saved.tokens_to_next_interval(at) == n) {
      saved.add({cache.save_frontier(), logits});
    }
    if (progress && !progress({at + n - start, end - start}) && at + n < end) {
      return Error{ErrorCode::kCancelled,
                   fmt::format("stopped after {} of {} tokens", at + n - start, end - start)};
    }
  }
  return {};
}

SnapshotIdentity Session::Impl::identity() const {
  return {engine.loaded.model->tensors().fingerprint,
          engine.options.mode == ComputeMode::kRelease ? 0U : 1U,
          static_cast<std::uint32_t>(engine.info.vocab_size)};
}

// Rows behind the first layers depend on what earlier tokens read, and a snapshot's identity names no
// ablation.
Result<void> Session::Impl::check_saveable() const {
  const Ablation ablation = engine.options.ablation;
  if (ablation == Ablation::kNone) return {};
  return Error{ErrorCode::kUnsupported,
               fmt::format("sessions are saved and loaded with whole attention only, and this one "
                           "has ablation \"{}\"",
                           ablation_info(ablation).name)};
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Engine::new_session() {
  PRECIS_TRY(impl_->reserve_session());
  return std::make_unique<Session>(std::make_unique<Session::Impl>(*impl_));
}

Result<void> Session::sync(std::span<const TokenId> prompt, const ProgressFn& progress) {
  if (prompt.empty()) {
    return Error{ErrorCode::kInvalidArgument, "the prompt is empty: want at least one token"};
  }
  PRECIS_TRY(impl_->check_length(static_cast<std::int64_t>(prompt.size())));
  PRECIS_TRY(impl_->check_tokens(prompt));
  const Clock::time_point start = Clock::now();
  const auto want = static_cast<std::int64_t>(prompt.size());
  const std::int64_t common = common_prefix(impl_->tokens, prompt);
  if (common < position()) impl_->rewind(common, want);
  impl_->stats.n_reused += position();
  auto result = impl_->extend(prompt, progress);
  impl_->stats.prefill_seconds += seconds_since(start);
  return result;
}

Result<void> Session::step(TokenId token) {
  PRECIS_TRY(impl_->check_length(position() + 1));
  PRECIS_TRY(impl_->check_tokens({&token, 1}));
  const Clock::time_point start = Clock::now();
  impl_->run({&token, 1}, true);
  impl_->stats.decode_seconds += seconds_since(start);
  return {};
}

std::span<const float> Session::logits() const {
  return impl_->logits;
}
std::span<const TokenId> Session::tokens() const {
  return impl_->tokens;
}
std::int64_t Session::position() const {
  return static_cast<std::int64_t>(impl_->tokens.size());
}
std::int64_t Session::max_tokens() const {
  return impl_->cache.max_tokens();
}

void Session::observe_selection(Observe observe) {
  impl_->observe = observe;
}
const std::vector<SelectedRows>& Session::selected_rows() const {
  return impl_->selected;
}

SessionStats Session::stats() const {
  SessionStats stats = impl_->stats;
  stats.kv_bytes = impl_->cache.n_bytes();
  stats.frontier_bytes = impl_->saved.n_bytes();
  return stats;
}

Result<void> Session::save(const std::filesystem::path& path) const {
  if (position() == 0) {
    return Error{ErrorCode::kInvalidArgument, "the session is empty: there is nothing to save"};
  }
  PRECIS_TRY(impl_->check_saveable());
  return write_snapshot(path, impl_->identity(), impl_->tokens, impl_->logits, impl_->cache);
}

Result<void> Session::load(const std::filesystem::path& path) {
  PRECIS_TRY(impl_->check_saveable());
  PRECIS_ASSIGN_OR_RETURN(SnapshotContent content,
                          read_snapshot(path, impl_->identity(), impl_->cache));
  impl_->tokens = std::move(content.tokens);
  impl_->logits = std::move(content.logits);
  impl_->selected.clear();
  impl_->saved.drop_after(0);
  impl_->saved.add({impl_->cache.save_frontier(), impl_->logits});
  return {};
}

}  // namespace precis
