#include "tandem/data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "tandem/core/factory.h"
#include "tandem/core/threads.h"
#include "tandem/op/tape.h"

namespace tandem::data::detail {

namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string text_of(const std::exception_ptr& cause) {
  try {
    std::rethrow_exception(cause);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

}  // namespace

/// One epoch, or the rest of one: its batches, and the workers that make them.
class LoaderCore::Run {
 public:
  struct Result {
    std::shared_ptr<void> batch;
    std::exception_ptr error;
    bool done = false, no_memory = false;
  };

  Run(std::shared_ptr<const BatchMaker> maker, const LoaderOptions& options,
      std::pair<uint64_t, int64_t> seed, std::vector<std::vector<int64_t>> list, int64_t at,
      int64_t first)
      : maker_(std::move(maker)),
        seed_(seed.first),
        stream_(seed.second),
        epoch_(at),
        batches(std::move(list)),
        next_to_give(first),
        next_to_make_(first) {
    int64_t slot = 0;
    for (const auto& b : batches) {
      slots_.push_back(slot);
      slot += int64_t(b.size());
    }
    const int64_t left = int64_t(batches.size()) - first;
    const auto threads = size_t(std::clamp<int64_t>(left, 0, options.threads));
    ring_.resize(threads * size_t(options.prefetch));
    try {
      for (size_t i = 0; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Run() { stop(); }

  /// Batch `next_to_give`; the caller makes it when there are no workers, or had no memory for it.
  /// It stays the next one when there is none now either.
  Result take() {
    if (workers_.empty()) {
      Result result = make(next_to_give);
      if (!result.no_memory) ++next_to_give;
      return result;
    }
    std::unique_lock lock(mutex_);
    Result& slot = ring_[size_t(next_to_give) % ring_.size()];
    ready_.wait(lock, [&] { return slot.done; });
    if (slot.no_memory) {
      lock.unlock();
      Result again = make(next_to_give);
      if (again.no_memory) return again;
      lock.lock();
      slot = std::move(again);
    }
    Result result = std::move(slot);
    slot = {};
    ++next_to_give;
    lock.unlock();
    space_.notify_one();
    return result;
  }

 private:
  Result make(int64_t number) {
    Result result;
    result.done = true;
    int64_t failing = -1;
    try {
      // Samples are data: what a transform computes is not put on a tape.
      const NoGrad no_grad;
      result.batch = maker_->make(
          {batches[size_t(number)], seed_, stream_, slots_[size_t(number)], &stop_, &failing});
    } catch (const OutOfMemory&) {
      without_memory(result);
    } catch (const std::bad_alloc&) {
      without_memory(result);
    } catch (...) {
      const std::exception_ptr cause = std::current_exception();
      try {
        const std::string what = failing >= 0 ? cat("sample ", failing) : cat("batch ", number);
        result.error = std::make_exception_ptr(LoaderError(
            cat("DataLoader: ", what, " of epoch ", epoch_, ": ", text_of(cause)), failing, cause));
      } catch (const std::bad_alloc&) {
        without_memory(result);
      }
    }
    return result;
  }

  /// Of a handler.
  static void without_memory(Result& result) noexcept {
    result.no_memory = true;
    try {
      tandem::detail::rethrow_for("DataLoader");
    } catch (...) {
      result.error = std::current_exception();
    }
  }

  void work() {
    const SingleThread single;
    std::unique_lock lock(mutex_);
    for (;;) {
      space_.wait(lock, [&] {
        return stop_ || next_to_make_ == int64_t(batches.size()) ||
               next_to_make_ < next_to_give + int64_t(ring_.size());
      });
      if (stop_ || next_to_make_ == int64_t(batches.size())) return;
      const int64_t number = next_to_make_++;
      lock.unlock();
      Result result = make(number);
      lock.lock();
      ring_[size_t(number) % ring_.size()] = std::move(result);
      ready_.notify_one();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    space_.notify_all();
    for (std::thread& t : workers_) t.join();
    workers_.clear();
  }

  std::shared_ptr<const BatchMaker> maker_;
  uint64_t seed_;
  int64_t stream_, epoch_;
  std::vector<int64_t> slots_;

 public:
  const std::vector<std::vector<int64_t>> batches;
  int64_t next_to_give;
  bool failed = false;
  const Clock::time_point started = Clock::now();
  double counted = 0;  ///< of the time since `started`, what the statistics hold

 private:
  std::mutex mutex_;
  std::condition_variable ready_, space_;
  std::atomic<bool> stop_{false};
  int64_t next_to_make_;
  std::vector<Result> ring_;  ///< batch n lies at n modulo its size
  std::vector<std::thread> workers_;
};

void LoaderCore::RunDeleter::operator()(Run* run) const { delete run; }

LoaderCore::LoaderCore(std::shared_ptr<const BatchMaker> maker, int64_t dataset_size,
                       LoaderOptions options)
    : maker_(std::move(maker)), options_(std::move(options)) {
  const LoaderOptions& o = options_;
  require(o.batch_size >= 1, "DataLoader(batch_size=", o.batch_size, "): must be at least 1");
  require(o.threads >= 0, "DataLoader(threads=", o.threads, "): must not be negative");
  require(o.prefetch >= 1, "DataLoader(prefetch=", o.prefetch, "): must be at least 1");
  require(!o.shuffle || (!o.sampler && !o.batch_sampler),
          "DataLoader(shuffle=true): a sampler decides the order itself; leave one of them out");
  if (o.batch_sampler) {
    sampler_ = o.batch_sampler;
    return;
  }
  SamplerPtr order = o.sampler;
  if (!order) order = o.shuffle ? random_sampler(dataset_size) : sequential_sampler(dataset_size);
  sampler_ = batch_sampler(std::move(order), o.batch_size, o.drop_last);
}

LoaderCore::~LoaderCore() = default;

std::unique_ptr<LoaderCore::Run, LoaderCore::RunDeleter> LoaderCore::start() try {
  const bool goes_on = resume_ || retry_;
  const int64_t epoch = goes_on ? epoch_ : epoch_ + 1, position = goes_on ? position_ : 0;
  std::optional<tandem::detail::Draw> draw;  // taken back where the epoch cannot begin
  uint64_t seed = options_.seed ? *options_.seed : seed_;
  if (!options_.seed && !(goes_on && has_seed_)) {
    draw.emplace(default_generator());
    seed = seed_of(draw->key());
  }
  auto batches = sampler_->batches(seed, stream_of(epoch));
  require(position <= int64_t(batches.size()), "DataLoader: cannot go on at batch ", position,
          ", the epoch has ", batches.size());
  std::unique_ptr<Run, RunDeleter> run(
      new Run(maker_, options_, {seed, stream_of(epoch)}, std::move(batches), epoch, position));
  seed_ = seed;
  has_seed_ = true;
  epoch_ = epoch;
  position_ = position;
  resume_ = retry_ = false;
  return run;
} catch (const std::bad_alloc&) {
  tandem::detail::rethrow_for("DataLoader");
}

std::shared_ptr<void> LoaderCore::next(Run& run) {
  if (run.failed || run.next_to_give == int64_t(run.batches.size())) {
    const double total = seconds_since(run.started);
    stats_.total_seconds += total - run.counted;
    run.counted = total;
    return nullptr;
  }
  const auto number = size_t(run.next_to_give);
  const auto start = Clock::now();
  Run::Result result = run.take();
  const double total = seconds_since(run.started);
  stats_.wait_seconds += seconds_since(start);
  stats_.total_seconds += total - run.counted;
  run.counted = total;
  if (result.error) {
    run.failed = !result.no_memory;
    retry_ = result.no_memory;
    std::rethrow_exception(result.error);
  }
  retry_ = false;
  ++stats_.batches;
  stats_.samples += int64_t(run.batches[number].size());
  position_ = run.next_to_give;
  return std::move(result.batch);
}

int64_t LoaderCore::size() const {
  return int64_t(sampler_->batches(seed_, stream_of(epoch_)).size());
}

LoaderStats LoaderCore::stats() const { return stats_; }

NamedTensors LoaderCore::state_dict() const {
  return {{"seed", full({}, int64_t(seed_), i64)},
          {"epoch", full({}, epoch_, i64)},
          {"position", full({}, position_, i64)},
          {"drawn", full({}, !options_.seed, boolean)}};
}

void LoaderCore::load_state_dict(const NamedTensors& state) {
  int64_t values[3];
  const char* names[] = {"seed", "epoch", "position"};
  for (int i = 0; i < 3; ++i) {
    const Tensor t = find(state, names[i]);
    require(t.defined() && t.dtype() == i64 && t.numel() == 1,
            "DataLoader: the state needs an i64 called ", names[i]);
    values[i] = t.item<int64_t>();
  }
  require(values[1] >= 0 && values[2] >= 0, "DataLoader: epoch ", values[1], " and position ",
          values[2], " must not be negative");
  seed_ = uint64_t(values[0]);
  const Tensor drawn = find(state, "drawn");
  options_.seed = seed_;
  if (drawn.defined() && bool(drawn)) options_.seed.reset();
  // A loader that had not begun has drawn nothing yet.
  has_seed_ = options_.seed || seed_ != 0;
  epoch_ = values[1];
  position_ = values[2];
  resume_ = true;
}

void LoaderCore::set_epoch(int64_t epoch) {
  require(epoch >= 0, "DataLoader: epoch ", epoch, " must not be negative");
  epoch_ = epoch;
  position_ = 0;
  resume_ = true;
  has_seed_ = false;
}

}  // namespace tandem::data::detail
