#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "tandem/graph/ir.h"

namespace tandem::detail {
struct UpdateItem;
}  // namespace tandem::detail

namespace tandem::graph {

/// One kernel of a plan with its operands bound.
struct Step {
  const Node* node = nullptr;
  int first_input = 0, n_in = 0;    ///< in Plan::operands
  int first_output = 0, n_out = 0;  ///< likewise
  int update = -1;                  ///< the group of parameter updates that runs here
  int folded = -1;                  ///< the update that runs on rows of the first result
  int over = -1;                    ///< the input in whose memory a result lies
};

struct Prepared;  // graph/prepared.h

/// A graph bound to memory: kernels in order over one arena whose places were chosen once by the
/// lifetimes of the values. Running it looks nothing up and asks the system for nothing. The arena
/// is working memory of the thread that runs, lent for the run: any number of plans need as much as
/// the largest of them. One thread at a time.
class TANDEM_API Plan {
 public:
  /// `watches`: a run throws a GradientError when one of the graph's `gradients_of()` has NaN, and
  /// has changed nothing then.
  explicit Plan(std::shared_ptr<const Graph> graph, bool watches = false);
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  /// Called by a run that has all its memory and has written nothing yet, with the results'
  /// tensors, which have no values yet.
  struct Ready {
    void (*call)(void* self, Tensors& results) = nullptr;
    void* self = nullptr;
  };
  /// Runs on inputs of the graph's specs, writes state and gradients, and gives fresh results. A
  /// run that throws before its updates has changed nothing: also the random numbers that it drew
  /// come again. Errors: OutOfMemory; whatever `ready` and the records throw.
  Tensors run(Inputs inputs, Ready ready);
  Tensors run(Inputs inputs) { return run(inputs, Ready{}); }

  /// Bytes of the arena, and what its values would take without sharing.
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t value_bytes() const { return value_bytes_; }
  /// While on, each run times its steps, which costs some 50 ns a step. Switching it on forgets
  /// what was measured before.
  void set_profile(bool on);
  /// A table of the steps: record, results, bytes, module, and the time of each (the mean of the
  /// runs under set_profile, in microseconds) once there were such runs.
  std::string explain() const;

 private:
  struct Shell {
    Tensor tensor;             ///< geometry, and a pointer that is moved
    ValueId root = -1;         ///< whose memory it looks at; itself for most
    int64_t offset = 0;        ///< in bytes, from the root's first element
    int first = 0, last = -1;  ///< steps that need it
    ValueId over = -1;         ///< the value whose place it takes when that dies
  };
  /// Memory from outside the arena, whose address may differ at each run.
  struct Mobile {
    ValueId value;
    std::vector<std::pair<TensorImpl*, int64_t>> shells;
    char* at = nullptr;
  };
  struct UpdateGroup {
    const OpInfo* rule;
    const Node* first;
    Tensor hyper;
    struct Member {
      Tensor step, parameter;
      ValueId gradient;
      Tensor states[3];
    };
    std::vector<Member> members;
    std::vector<detail::UpdateItem> items;
    int states = 0;
    DType dtype = f32;
  };
  /// An update that runs on rows of a weight's gradient right after the product that makes them.
  struct FoldedUpdate {
    int group;
    UpdateGroup::Member member;
  };

  /// What a run does beside its steps, found once.
  struct Result {
    ValueId id;
    int same_as = -1;  ///< an earlier result of the same value
    int mobile = -1;   ///< written where it stays; -1: copied
  };
  struct Gradient {
    ValueId value = -1;  ///< as in the GradientWrite
    Tensor* leaf = nullptr;
    const Tensor* from = nullptr;
    int mobile = -1;            ///< written where it stays
    TensorImpl* now = nullptr;  ///< of a run: the leaf's old one, or
    Tensor fresh;
  };

  /// A value's place in the arena, and the steps in which it lives.
  struct Place {
    int64_t at, bytes;
    int first, last;
  };
  /// Undoes what a run has drawn and left when it throws.
  class Undo;

  void make_shells();
  void put_prepared_first();
  void find_prepared();
  void prepare(Tensor& held);
  void find_bindings();
  void bind_steps();
  void group_updates();
  void fold_updates();
  void share_in_place();
  void place();
  Mobile& mobile(ValueId root);
  void move(Mobile& m, char* to);
  void run_step(size_t k);
  void run_this(const Step& step);
  void run_steps();
  void run_timed();
  void run_watched();
  void find_gradients();
  void watch(int k);
  detail::UpdateItem begin_update(const UpdateGroup& group, const UpdateGroup::Member& m) const;
  void run_updates(UpdateGroup& group);
  void run_updates();
  void run_folded(const Step& step);
  void write_state();

  std::shared_ptr<const Graph> graph_;
  std::vector<Shell> shells_;
  std::vector<Step> steps_;
  std::vector<Tensor> operands_;
  std::vector<Mobile> mobiles_;
  std::vector<int> mobile_of_;  ///< by value; -1 for what lies in the arena
  std::vector<UpdateGroup> groups_;
  std::vector<FoldedUpdate> folded_;
  std::vector<Tensor> late_;  ///< gradients of these, where updates come after the last kernel
  std::vector<bool> written_directly_;  ///< assignments that a group of updates makes in place
  std::vector<Gradient> gradients_;     ///< one a GradientWrite
  std::vector<Result> results_;
  std::vector<int> states_;  ///< mobiles whose address their tensor has
  std::vector<ValueId> keys_;
  std::vector<size_t> written_later_;  ///< assignments that copy behind the last step
  int prepared_ = 0;  ///< steps in front that run when what they read has been written to
  std::vector<ValueId> watched_;  ///< state that they read
  std::shared_ptr<Prepared> made_;
  std::vector<bool> is_kept_;     ///< by value: made by a step in front, read by later runs
  size_t first_update_ = 0;       ///< steps from here on are groups of updates
  Tensor own_;                    ///< an arena that is too small to be borrowed
  Mobile lent_{-1, {}, nullptr};  ///< what lies in the arena
  Mobile kept_{-1, {}, nullptr};  ///< what the steps in front have made
  std::vector<Place> places_;     ///< for sanitizers
  int64_t arena_bytes_ = 0, kept_bytes_ = 0, value_bytes_ = 0;
  /// Until a run has come through in this thread, and after empty_cache(), kernels may ask for
  /// memory that they then keep: meanwhile no update runs before the last of them.
  bool settled_ = false;
  const void* settled_in_ = nullptr;  ///< something of the thread's own
  uint32_t emptied_ = 0;
  /// A gradient that is there after step `step`; -1: at the begin.
  struct Watched {
    int step;
    const GradientOf* what;
  };
  bool watches_ = false;
  std::vector<Watched> gradients_of_;  ///< by step
  bool profile_ = false;
  int64_t timed_runs_ = 0;
  std::vector<double> seconds_;  ///< by step, over all timed runs
};

}  // namespace tandem::graph
