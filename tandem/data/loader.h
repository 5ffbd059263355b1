#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tandem/core/by_name.h"
#include "tandem/core/error.h"
#include "tandem/core/named_tensors.h"
#include "tandem/data/dataset.h"
#include "tandem/data/sampler.h"

namespace tandem::data {

struct LoaderOptions {
  ByName by_name = ByName();
  int64_t batch_size = 1;
  bool shuffle = false;    ///< another random order each epoch
  bool drop_last = false;  ///< leave out a last batch that is not full
  int threads = 0;         ///< worker threads; 0: batches are made by the caller when asked for
  int prefetch = 2;        ///< batches that each worker makes ahead
  /// The same seed gives the same batches for any number of threads. Without one each epoch draws
  /// its own from `default_generator()`, and so follows `manual_seed`.
  std::optional<uint64_t> seed = {};
  SamplerPtr sampler = {};             ///< instead of `shuffle`
  BatchSamplerPtr batch_sampler = {};  ///< instead of `sampler`, `batch_size` and `drop_last`
};

/// What `DataLoader::stats()` gives, since the loader was made.
struct LoaderStats {
  int64_t batches = 0, samples = 0;
  double wait_seconds = 0;   ///< the loop stood still for its next batch
  double total_seconds = 0;  ///< inside loops over the loader
  /// The share of the time that the model waited for data, 0 to 1.
  double wait_share() const { return total_seconds > 0 ? wait_seconds / total_seconds : 0; }
};

/// An exception of a dataset, a transform or a collate function, with the sample that caused it.
/// `cause()` is the original.
class TANDEM_API LoaderError : public Error {
 public:
  LoaderError(const std::string& text, int64_t sample, std::exception_ptr cause)
      : Error(text), sample_(sample), cause_(std::move(cause)) {}
  /// The index of the sample; -1 when the batch as a whole failed.
  int64_t sample() const { return sample_; }
  const std::exception_ptr& cause() const { return cause_; }

 private:
  int64_t sample_;
  std::exception_ptr cause_;
};

namespace detail {
/// pair, tuple or array of nothing but tensors.
template <class T>
inline constexpr bool tensor_tuple = false;
template <std::same_as<Tensor>... T>
inline constexpr bool tensor_tuple<std::tuple<T...>> = true;
template <>
inline constexpr bool tensor_tuple<std::pair<Tensor, Tensor>> = true;
template <size_t N>
inline constexpr bool tensor_tuple<std::array<Tensor, N>> = true;
}  // namespace detail

/// The default collate: tensors are stacked, structs with a field list (such as Example) and pairs,
/// tuples and arrays of tensors member by member, numbers become a 1-d tensor.
template <class T>
auto collate(std::vector<T>& samples) {
  if constexpr (std::is_same_v<T, Tensor>) {
    return detail::stack_samples(samples);
  } else if constexpr (std::is_arithmetic_v<T>) {
    const auto n = int64_t(samples.size());
    Tensor t = empty({n}, dtype_of<T>);
    std::copy(samples.begin(), samples.end(), t.data<T>());
    return t;
  } else if constexpr (requires { T::fields; }) {
    T batch;
    const auto one = [&](const auto& f) {
      std::vector<Tensor> column;
      for (const T& s : samples) column.push_back(s.*(f.ptr));
      batch.*(f.ptr) = detail::stack_samples(column);
    };
    apply_fields([&](const auto&... f) { (one(f), ...); }, T::fields);
    return batch;
  } else {
    static_assert(detail::tensor_tuple<T>,
                  "samples of this type need a collate function: DataLoader(dataset, options, f) "
                  "with f(std::vector<Sample>&) giving the batch");
    return [&]<size_t... I>(std::index_sequence<I...>) {
      const auto column = [&](auto which) {
        std::vector<Tensor> out;
        for (const T& s : samples) out.push_back(std::get<which()>(s));
        return detail::stack_samples(out);
      };
      return T{column(std::integral_constant<size_t, I>{})...};
    }
    (std::make_index_sequence<std::tuple_size_v<T>>{});
  }
}

struct DefaultCollate {
  template <class T>
  auto operator()(std::vector<T>& samples) const {
    return collate(samples);
  }
};

namespace detail {

/// What a worker is told of the batch it makes.
struct BatchJob {
  std::span<const int64_t> indices;
  uint64_t seed;
  int64_t epoch, slot;  ///< `slot`: the number of the first sample within the epoch
  const std::atomic<bool>* stop;
  int64_t* failing;  ///< set to the sample being made
};
class BatchMaker {
 public:
  virtual ~BatchMaker() = default;
  virtual std::shared_ptr<void> make(const BatchJob& job) const = 0;
};

/// The loader without its types: order, threads, errors, statistics, position.
class TANDEM_API LoaderCore {
 public:
  LoaderCore(std::shared_ptr<const BatchMaker> maker, int64_t dataset_size, LoaderOptions options);
  ~LoaderCore();
  LoaderCore(const LoaderCore&) = delete;
  LoaderCore& operator=(const LoaderCore&) = delete;

  class Run;
  struct RunDeleter {
    TANDEM_API void operator()(Run* run) const;
  };
  std::unique_ptr<Run, RunDeleter> start();
  /// The next batch, or null at the end of the epoch. Errors: LoaderError; OutOfMemory, and then
  /// the batch is still the next one, of this run or of another that is started.
  std::shared_ptr<void> next(Run& run);

  int64_t size() const;
  LoaderStats stats() const;
  int64_t epoch() const { return epoch_; }
  int64_t position() const { return position_; }
  NamedTensors state_dict() const;
  void load_state_dict(const NamedTensors& state);
  void set_epoch(int64_t epoch);

 private:
  /// Which order of a seed an epoch has: a seed that it drew for itself has but one.
  int64_t stream_of(int64_t epoch) const { return options_.seed ? epoch : 0; }

  std::shared_ptr<const BatchMaker> maker_;
  LoaderOptions options_;
  BatchSamplerPtr sampler_;
  uint64_t seed_ = 0;      ///< of the epoch that runs
  bool has_seed_ = false;  ///< it is known already
  int64_t epoch_ = 0, position_ = 0;
  bool resume_ = true;  ///< the next loop goes on at (epoch_, position_)
  bool retry_ = false;  ///< there was no memory for the next batch: a new loop begins with it
  LoaderStats stats_;
};

}  // namespace detail

/// Batches of a dataset, as a range:
///
///     data::DataLoader loader(dataset, {.batch_size = 64, .shuffle = true, .threads = 2});
///     for (auto& [x, y] : loader) ...
///
/// Each loop is one epoch. Workers are threads, which live as long as the loop; batches come in
/// order and do not depend on their number; ops that a worker calls stay on its thread. Leaving the
/// loop early stops them. `f`, the collate function, makes a batch from a std::vector of samples.
template <Dataset D, class F = DefaultCollate>
class DataLoader {
 public:
  using Sample = SampleOf<D>;
  static constexpr bool whole_batches = BatchDataset<D> && std::is_same_v<F, DefaultCollate>;

 private:
  static auto make_batch(const D& d, const F& f, const detail::BatchJob& job) {
    if constexpr (whole_batches) {
      return d.get_batch(job.indices);
    } else {
      std::vector<Sample> samples;
      samples.reserve(job.indices.size());
      int64_t slot = job.slot;
      for (const int64_t i : job.indices) {
        if (job.stop->load(std::memory_order_relaxed)) throw Error("the loop was left");
        *job.failing = i;
        Random random(job.seed, uint64_t(job.epoch) << 32 ^ uint64_t(slot) >> 31,
                      uint32_t(slot) & 0x7fffffff);
        ++slot;
        samples.push_back(data::get(d, i, random));
      }
      *job.failing = -1;
      return f(samples);
    }
  }

 public:
  using Batch = decltype(make_batch(std::declval<const D&>(), std::declval<const F&>(),
                                    std::declval<const detail::BatchJob&>()));

  /// Errors: ValueError for options out of range.
  explicit DataLoader(D dataset, LoaderOptions options = {}, F collate = {})
      : dataset_(std::make_shared<const D>(std::move(dataset))),
        core_(std::make_shared<Maker>(dataset_, std::move(collate)), dataset_->size(),
              std::move(options)) {}

  class iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    explicit iterator(detail::LoaderCore& core) : core_(&core), run_(core.start()) { advance(); }
    Batch& operator*() const { return *static_cast<Batch*>(batch_.get()); }
    iterator& operator++() {
      advance();
      return *this;
    }
    void operator++(int) { advance(); }
    friend bool operator==(const iterator& i, std::default_sentinel_t) { return !i.batch_; }

   private:
    void advance() {
      batch_.reset();  // its memory may serve the next batch
      batch_ = core_->next(*run_);
    }
    detail::LoaderCore* core_;
    std::unique_ptr<detail::LoaderCore::Run, detail::LoaderCore::RunDeleter> run_;
    std::shared_ptr<void> batch_;
  };
  /// Starts an epoch: a new one, or the rest of the one that `load_state_dict` named.
  iterator begin() { return iterator(core_); }
  std::default_sentinel_t end() const { return {}; }

  /// The number of batches of an epoch.
  int64_t size() const { return core_.size(); }
  const D& dataset() const { return *dataset_; }
  LoaderStats stats() const { return core_.stats(); }
  /// The running epoch, from 0, and how many of its batches were handed out.
  int64_t epoch() const { return core_.epoch(); }
  int64_t position() const { return core_.position(); }
  /// The next loop is this epoch, from its start.
  void set_epoch(int64_t epoch) { core_.set_epoch(epoch); }
  /// Seed, epoch and position. After `load_state_dict` the next loop goes on with the batch after
  /// the last one that was handed out. Errors: ValueError.
  NamedTensors state_dict() const { return core_.state_dict(); }
  void load_state_dict(const NamedTensors& state) { core_.load_state_dict(state); }

 private:
  class Maker final : public detail::BatchMaker {
   public:
    Maker(std::shared_ptr<const D> dataset, F f) : dataset_(std::move(dataset)), f_(std::move(f)) {}
    std::shared_ptr<void> make(const detail::BatchJob& job) const override {
      return std::make_shared<Batch>(make_batch(*dataset_, f_, job));
    }

   private:
    std::shared_ptr<const D> dataset_;
    F f_;
  };

  std::shared_ptr<const D> dataset_;
  detail::LoaderCore core_;
};

}  // namespace tandem::data
