/*
 * The replicated order as a model for SPIN: two views, one change between them, clocks that stand still or jump.
 *
 * Messages are left out, because they only take possibilities away. Whatever a member may ever be told it knows at
 * once (`issued`, `acked`, `known`, `value`). Every rule reads such knowledge monotonically: knowing more never
 * forbids an action. So a message that is late, lost, doubled or overtaken amounts to an action taken later or never,
 * and any member may at any time do nothing: slow, deaf, paused and dead members are all covered. A crash takes away
 * only what is not durable, and no rule reads that; so a crash is a pause, as long as no rule is broken.
 *
 * Bounds: MEMBERS members; the origins 0 and 1 issue up to ENTRIES_0 and ENTRIES_1 entries in view 1 and one each
 * in view 2; clocks run from 1 to TIME_MAX; BALLOTS ballots.
 *
 * Asserted: one history for all, ascending by (timestamp, origin), across the change of views; nothing final beyond
 * a cut; one decision.
 *
 * Each rule can be broken alone by a -D; `make model` demands that every one of them is then caught:
 *   NO_MAJORITY NO_STABILITY NO_CONTIGUITY NO_FREEZE NO_CEILING NO_FLOOR CUT_MIN SEND_FIRST OLD_BALLOT FORGET_BALLOT
 *   FRESH_VALUE
 */

#ifndef MEMBERS
#define MEMBERS 3
#endif
#ifndef TIME_MAX
#define TIME_MAX 4
#endif
#ifndef BALLOTS
#define BALLOTS 2
#endif
#ifndef ENTRIES_0
#define ENTRIES_0 2
#endif
#ifndef ENTRIES_1
#define ENTRIES_1 1
#endif
#define ENTRIES 2
#define NONE 255
#define ORIGINS 2
#define MAJORITY (MEMBERS / 2 + 1)
#define ALL ((1 << MEMBERS) - 1)
#define NONE 255

/* Row 2 (view - 1) + origin of a log holds that origin's entries of that view; a cell holds a timestamp. */
#define ROWS 4
#define ROW(v, o) (((v) - 1) * ORIGINS + (o))
#define CELL(row, n) ((row) * ENTRIES + (n))
#define LIMIT(v, o) ((v) == 2 -> 1 : ((o) == 0 -> ENTRIES_0 : ENTRIES_1))

typedef Log {
  byte at[8];
  byte have[ROWS];  /* contiguous from 1, durable */
  byte acked[ROWS]; /* as far as it told others */
  byte final[ROWS]; /* as far as it finalized */
}
typedef Times {
  byte t[MEMBERS];
}
typedef Value {
  byte cut[ORIGINS];
  byte floor;
  byte members;
  bool proposed;
  byte promises; /* who promised this ballot */
  byte accepts;
  byte reported[MEMBERS]; /* the ballot each had accepted when it promised this one */
}

byte issued[ROWS];
byte issued_at[8];
Log log[MEMBERS];
Times known[MEMBERS];     /* the highest T of each other member that counts */
Value value[BALLOTS + 1]; /* by ballot, from 1; ballot b is member b's */
byte view[MEMBERS] = 1;
byte clock[MEMBERS] = 1;
byte said[MEMBERS];     /* the T of its newest status */
byte said_seq[MEMBERS]; /* the seq that came with it */
byte promised[MEMBERS]; /* ballot */
byte accepted[MEMBERS]; /* ballot */
byte chosen;            /* the first ballot a majority accepted */

byte history[8]; /* the one history: cells in the order in which they became final */
byte history_at[8];
byte length;
byte place[MEMBERS]; /* how much of it each member has finalized */

#define BIT(bits, n) (((bits) >> (n)) & 1)
#define COUNT(bits) (BIT(bits, 0) + BIT(bits, 1) + BIT(bits, 2) + BIT(bits, 3))
#define BELONGS(v, i) ((v) == 1 || BIT(value[chosen].members, i))
#define NEEDED(v) ((v) == 1 -> MAJORITY : COUNT(value[chosen].members) / 2 + 1)
#ifdef NO_FREEZE
#define FROZEN(i) false
#else
#define FROZEN(i) (view[i] == 1 && promised[i] > 0)
#endif
#ifdef NO_CONTIGUITY
#define COMPLETE(i, k) true
#else
#define COMPLETE(i, k) ((k) >= ORIGINS || log[i].have[ROW(view[k], k)] >= said_seq[k])
#endif

/* T of member k counts at i once i holds all that k had issued before it said so. */
inline learn(k) {
  i = 0;
  do
  :: i < MEMBERS ->
     if
     :: i != k && view[i] == view[k] && COMPLETE(i, k) && said[k] > known[i].t[k] -> known[i].t[k] = said[k]
     :: else
     fi;
     i++
  :: else -> break
  od;
  i = 0
}

/* The row of the first entry of view v, in order, that is held here and not yet final here. */
inline first_left(v) {
  row = NONE;
  i = 0;
  do
  :: i < ORIGINS ->
     if
     :: log[me].final[ROW(v, i)] < log[me].have[ROW(v, i)] ->
        if
        :: row == NONE -> row = ROW(v, i)
        :: else ->
           if
           :: log[me].at[CELL(ROW(v, i), log[me].final[ROW(v, i)])] < log[me].at[CELL(row, log[me].final[row])] ->
              row = ROW(v, i)
           :: else
           fi
        fi
     :: else
     fi;
     i++
  :: else -> break
  od;
  i = 0
}

inline finalize() {
  cell = CELL(row, log[me].final[row]);
  if
  :: place[me] == length ->
     assert(length == 0 || log[me].at[cell] > history_at[length - 1] ||
            (log[me].at[cell] == history_at[length - 1] && row % 2 > (history[length - 1] / ENTRIES) % 2));
     history[length] = cell;
     history_at[length] = log[me].at[cell];
     length++
  :: else ->
     assert(history[place[me]] == cell && history_at[place[me]] == log[me].at[cell])
  fi;
  place[me]++;
  log[me].final[row]++;
  cell = 0
}

/* Hold everything up to the cut; somebody of the deciding majority has it and serves it. */
inline fetch(b) {
  k = 0;
  do
  :: k < ORIGINS ->
     do
     :: log[me].have[k] < value[b].cut[k] ->
        log[me].at[CELL(k, log[me].have[k])] = issued_at[CELL(k, log[me].have[k])];
        log[me].have[k]++
     :: else -> break
     od;
     k++
  :: else -> break
  od;
  k = 0
}

/* Receive the next entry of another origin, make it durable, acknowledge it. */
#define RECEIVES(o) ((o) != me && !FROZEN(me) && BELONGS(view[me], me) && \
                     log[me].have[ROW(view[me], o)] < issued[ROW(view[me], o)])
inline receive(o) {
  row = ROW(view[me], o);
  cell = CELL(row, log[me].have[row]);
  log[me].at[cell] = issued_at[cell];
  log[me].have[row]++;
  if
  :: log[me].acked[row] < log[me].have[row] -> log[me].acked[row] = log[me].have[row]
  :: else
  fi;
  if
  :: clock[me] < log[me].at[cell] -> clock[me] = log[me].at[cell]
  :: else
  fi;
  if
  :: view[o] == view[me] && COMPLETE(me, o) && said[o] > known[me].t[o] -> known[me].t[o] = said[o]
  :: else
  fi;
  row = 0; cell = 0
}

/* Promise a ballot: durable, and frozen from here on. */
#define PROMISES(ballot) (view[me] == 1 && promised[me] < ballot && !BIT(value[ballot].promises, me))
inline promise(ballot) {
  promised[me] = ballot;
  value[ballot].promises = value[ballot].promises | (1 << me);
  value[ballot].reported[me] = accepted[me]
}

/* Accept: no higher ballot promised, and every entry up to the cut is held. */
#ifdef OLD_BALLOT
#define ACCEPTS(ballot) (view[me] == 1 && value[ballot].proposed && !BIT(value[ballot].accepts, me))
#else
#define ACCEPTS(ballot) (view[me] == 1 && value[ballot].proposed && !BIT(value[ballot].accepts, me) && \
                         promised[me] <= ballot)
#endif
inline accept(ballot) {
  promised[me] = ballot;
  accepted[me] = ballot;
  fetch(ballot);
  value[ballot].accepts = value[ballot].accepts | (1 << me);
  if
  :: COUNT(value[ballot].accepts) >= MAJORITY && chosen == 0 -> chosen = ballot
  :: COUNT(value[ballot].accepts) >= MAJORITY && chosen > 0 ->
     assert(value[chosen].cut[0] == value[ballot].cut[0] && value[chosen].cut[1] == value[ballot].cut[1] &&
            value[chosen].floor == value[ballot].floor && value[chosen].members == value[ballot].members)
  :: else
  fi
}

/* Final: stable and held by a majority, in order. Takes as many as there are. */
inline advance() {
  do
  :: first_left(view[me]);
     if
     :: row == NONE -> break
     :: else
     fi;
     stable = clock[me];
     many = 0;
     do
     :: i < MEMBERS ->
        if
        :: i != me && BELONGS(view[me], i) && known[me].t[i] < stable -> stable = known[me].t[i]
        :: else
        fi;
        if
        :: BELONGS(view[me], i) && log[i].acked[row] > log[me].final[row] -> many++
        :: else
        fi;
        i++
     :: else -> break
     od;
     i = 0;
#ifdef NO_STABILITY
     stable = TIME_MAX;
#endif
#ifdef NO_MAJORITY
     many = MEMBERS;
#endif
     if
     :: log[me].at[CELL(row, log[me].final[row])] <= stable && many >= NEEDED(view[me]) -> finalize()
     :: else -> break
     fi
  od;
  row = 0; stable = 0; many = 0
}
#define UNFINAL(o) (log[me].final[ROW(view[me], o)] < log[me].have[ROW(view[me], o)])

proctype Member(byte me) {
  byte i, k, row, many, stable, cell, best;
end: /* nothing may be left to do */
  do
  /* Time passes. */
  :: d_step { clock[me] < TIME_MAX -> clock[me]++ }

  /* Submit: an entry above everything used or promised; durable, then told. */
  :: d_step { me < ORIGINS && !FROZEN(me) && clock[me] < TIME_MAX && BELONGS(view[me], me) &&
       log[me].have[ROW(view[me], me)] < LIMIT(view[me], me) ->
       clock[me]++;
       row = ROW(view[me], me);
       cell = CELL(row, log[me].have[row]);
       log[me].at[cell] = clock[me];
       issued_at[cell] = clock[me];
       log[me].have[row]++;
       log[me].acked[row] = log[me].have[row];
       if
       :: issued[row] < log[me].have[row] -> issued[row] = log[me].have[row]
       :: else
       fi;
       row = 0; cell = 0
     }

  :: d_step { RECEIVES(0) -> receive(0) }
  :: d_step { RECEIVES(1) -> receive(1) }

  /* Status: promise to issue nothing up to the clock but what is issued. */
  :: d_step { !FROZEN(me) && BELONGS(view[me], me) && said[me] < clock[me] ->
       said[me] = clock[me];
       if
       :: me < ORIGINS -> said_seq[me] = log[me].have[ROW(view[me], me)]
       :: else
       fi;
       learn(me)
     }

  :: d_step { BELONGS(view[me], me) && (UNFINAL(0) || UNFINAL(1)) -> advance() }

  :: d_step { PROMISES(1) -> promise(1) }
#if BALLOTS > 1
  :: d_step { PROMISES(2) -> promise(2) }
#endif

  /* Propose: the value accepted under the highest ballot, or else a new one. */
  :: atomic { me > 0 && me <= BALLOTS && !value[me].proposed && COUNT(value[me].promises) >= MAJORITY ->
       value[me].proposed = true;
#ifdef CUT_MIN
       value[me].cut[0] = ENTRIES;
       value[me].cut[1] = ENTRIES;
#endif
       do
       :: i < MEMBERS ->
          if
          :: BIT(value[me].promises, i) ->
#ifndef FRESH_VALUE
             if
             :: value[me].reported[i] > best -> best = value[me].reported[i]
             :: else
             fi;
#endif
             do
             :: k < ORIGINS ->
                if
#ifdef CUT_MIN
                :: log[i].have[k] < value[me].cut[k] -> value[me].cut[k] = log[i].have[k]
#else
                :: log[i].have[k] > value[me].cut[k] -> value[me].cut[k] = log[i].have[k]
#endif
                :: else
                fi;
                k++
             :: else -> break
             od;
             k = 0;
             if
             :: clock[i] > value[me].floor -> value[me].floor = clock[i]
             :: else
             fi
          :: else
          fi;
          i++
       :: else -> break
       od;
       i = 0;
       if
       :: best > 0 ->
          value[me].cut[0] = value[best].cut[0];
          value[me].cut[1] = value[best].cut[1];
          value[me].floor = value[best].floor;
          value[me].members = value[best].members
       :: else ->
          if
          :: value[me].members = value[me].promises
          :: value[me].members = ALL
          fi
       fi;
       best = 0
     }

  :: d_step { ACCEPTS(1) -> accept(1) }
#if BALLOTS > 1
  :: d_step { ACCEPTS(2) -> accept(2) }
#endif

  /* Install: hold everything up to the cut, drop what is beyond, finalize the rest, go on above the floor. */
  :: d_step { view[me] == 1 && chosen > 0 ->
       fetch(chosen);
       do
       :: k < ORIGINS ->
          do
          :: log[me].have[k] > value[chosen].cut[k] ->
             log[me].have[k]--;
             log[me].at[CELL(k, log[me].have[k])] = 0
          :: else -> break
          od;
          assert(log[me].final[k] <= value[chosen].cut[k]);
          k++
       :: else -> break
       od;
       k = 0;
       first_left(1);
       do
       :: row != NONE -> finalize(); first_left(1)
       :: else -> break
       od;
       row = 0;
       view[me] = 2;
       said[me] = 0;
       said_seq[me] = 0;
       do
       :: i < MEMBERS ->
          known[me].t[i] = (view[i] == 2 && COMPLETE(me, i) -> said[i] : 0);
          i++
       :: else -> break
       od;
       i = 0;
#ifndef NO_FLOOR
       if
       :: clock[me] < value[chosen].floor -> clock[me] = value[chosen].floor
       :: else
       fi
#endif
     }

  /* Broken rules that need a crash. */
#ifdef NO_CEILING
  :: atomic { clock[me] > 1 -> clock[me] = 1 }
#endif
#ifdef FORGET_BALLOT
  :: atomic { view[me] == 1 && promised[me] > 0 -> promised[me] = 0; accepted[me] = 0 }
#endif
#ifdef SEND_FIRST
  :: atomic { me < ORIGINS && view[me] == 1 && log[me].have[me] > log[me].final[me] && !FROZEN(me) ->
       log[me].have[me]--;
       log[me].acked[me] = log[me].have[me];
       log[me].at[CELL(me, log[me].have[me])] = 0
     }
#endif
  od
}

init {
  byte n;
  atomic {
    do
    :: n < MEMBERS -> run Member(n); n++
    :: else -> break
    od
  }
}
