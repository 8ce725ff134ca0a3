/**
 * The states of a scan login, and what each step makes of one. Every function takes the login as it is stored and gives
 * the one to store in its place, or the same object when there is nothing to store. No store and no clock: see `machine.ts`.
 *
 *     waiting ─scan→ scanned ─approve→ approved ─redeem→ redeemed
 *                       └────deny───→ denied
 */

export const STEPS = ['new', 'scan', 'approve', 'deny', 'redeem'] as const;
export type Step = (typeof STEPS)[number];

interface Begun {
  /** keyed hash of what the backend keeps in the visitor's cookie */
  visitor: string;
  /** JSON text: what the phone shows */
  show: string;
  /** unix ms */
  created: number;
  /** unix ms: from then on it can be neither scanned nor decided */
  ends: number;
}
interface Scanned {
  phone: string;
}
interface Approval {
  /** JSON text: what `redeem` gives back */
  user: string;
  /** the one-time code */
  code: string;
  /** unix ms: from then on the code is not redeemed */
  until: number;
}
interface Redemption {
  /** names the call that redeemed the code: the same name again is a repeat */
  redeemer: string;
}
export type ApprovedLogin = Begun &
  Scanned &
  Approval &
  ({ state: 'approved' } | ({ state: 'redeemed' } & Redemption));
export type Login =
  | (Begun & { state: 'waiting' })
  | (Begun & Scanned & { state: 'scanned' | 'denied' })
  | ApprovedLogin;

/** Why a step is refused, and what the error says. */
const REASONS = {
  unknown: 'key: no login has this key, or its record is no longer kept',
  expired: 'the login has expired: begin a new one',
  decided: 'the login has been approved or denied already, or a set has ended its key: begin a new one',
  taken: 'phone: another phone has scanned this login',
  unscanned: 'phone: scan the login before you approve or deny it',
  approved: 'the login has been approved already',
  denied: 'the login has been denied already',
  redeemed: 'code: it has been redeemed already',
  wrong: 'code, visitor: give the code of this login and the visitor that it was made for',
  tries: 'code, visitor: too many wrong ones for this key; try again after retry ms',
  off: 'logins need TAGWAIT_SECRET, the same on every node',
} as const;
export type LoginReason = keyof typeof REASONS;

/** A step of a scan login is not possible: `reason` says why. Nothing was changed by it. */
export class LoginError extends Error {
  override readonly name = 'LoginError';
  readonly code: `TAGWAIT_LOGIN_${Uppercase<LoginReason>}`;
  constructor(
    readonly reason: LoginReason,
    /** milliseconds until a wrong code is looked at again; with the reason `tries` alone */
    readonly retry?: number,
  ) {
    super(REASONS[reason]);
    this.code = `TAGWAIT_LOGIN_${reason.toUpperCase() as Uppercase<LoginReason>}`;
  }
}

/** @param now unix ms @throws {LoginError} taken, expired, decided */
export function scan(login: Login, phone: string, now: number): Login {
  if (login.state === 'waiting') {
    if (now >= login.ends) throw new LoginError('expired');
    return { ...login, state: 'scanned', phone };
  }
  if (login.phone !== phone) throw new LoginError('taken');
  if (login.state !== 'scanned') throw new LoginError('decided');
  return login;
}

/**
 * A repeat keeps the first code and user, and renews the time of the code until it is redeemed.
 * @param now unix ms @throws {LoginError} unscanned, taken, expired, denied
 */
export function approve(login: Login, phone: string, approval: Approval, now: number): ApprovedLogin {
  const scanned = scannedBy(login, phone, now);
  switch (scanned.state) {
    case 'scanned':
      if (now >= scanned.ends) throw new LoginError('expired');
      return { ...scanned, ...approval, state: 'approved' };
    case 'denied':
      throw new LoginError('denied');
    case 'approved':
      return { ...scanned, until: approval.until };
    case 'redeemed':
      return scanned;
  }
}

/** @param now unix ms @throws {LoginError} unscanned, taken, expired, approved */
export function deny(login: Login, phone: string, now: number): Login {
  const scanned = scannedBy(login, phone, now);
  if (scanned.state === 'denied') return scanned;
  if (scanned.state !== 'scanned') throw new LoginError('approved');
  if (now >= scanned.ends) throw new LoginError('expired');
  return { ...scanned, state: 'denied' };
}

/** The login, if this phone is the one that scanned it. */
function scannedBy(login: Login, phone: string, now: number): Exclude<Login, { state: 'waiting' }> {
  if (login.state === 'waiting') throw new LoginError(now >= login.ends ? 'expired' : 'unscanned');
  if (login.phone !== phone) throw new LoginError('taken');
  return login;
}

/**
 * @param matches compares the code and the visitor with those of the login
 * @param now unix ms @throws {LoginError} wrong, expired, decided, redeemed
 */
export function redeem(
  login: Login,
  matches: (login: ApprovedLogin) => boolean,
  redeemer: string,
  now: number,
): ApprovedLogin {
  switch (login.state) {
    case 'waiting':
    case 'scanned':
      throw new LoginError(now >= login.ends ? 'expired' : 'wrong');
    case 'denied':
      throw new LoginError('decided');
  }
  if (!matches(login)) throw new LoginError('wrong');
  if (login.state === 'redeemed') {
    if (login.redeemer !== redeemer) throw new LoginError('redeemed');
    return login;
  }
  if (now >= login.until) throw new LoginError('expired');
  return { ...login, state: 'redeemed', redeemer };
}
