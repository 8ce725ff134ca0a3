/*
 * The texts of the box, in the twelve languages that most people on the web use. A page gives its own as
 * `data-text-…`.
 */
var TEXT_NAMES = 'waiting scanned approved done denied expired failed busy offline again'.split(' ');
var TEXTS = {
  en: 'Scan with your phone|Confirm on your phone|Signing in…|Signed in|Declined on your phone|Code expired|That did not work|One moment…|No connection…|New code',
  zh: '请用手机扫码|请在手机上确认|正在登录…|已登录|已在手机上拒绝|二维码已过期|登录失败|请稍候…|无网络连接…|刷新二维码',
  es: 'Escanea con tu teléfono|Confirma en tu teléfono|Iniciando sesión…|Sesión iniciada|Rechazado en tu teléfono|Código caducado|No se pudo iniciar sesión|Un momento…|Sin conexión…|Código nuevo',
  ar: 'امسح الرمز ضوئيًا بهاتفك|أكّد على هاتفك|جارٍ تسجيل الدخول…|تم تسجيل الدخول|تم الرفض على هاتفك|انتهت صلاحية الرمز|تعذّر تسجيل الدخول|لحظة…|لا يوجد اتصال…|رمز جديد',
  pt: 'Escaneie com seu celular|Confirme no seu celular|Entrando…|Login concluído|Recusado no seu celular|Código expirado|Não foi possível entrar|Um momento…|Sem conexão…|Novo código',
  id: 'Pindai dengan ponsel Anda|Konfirmasi di ponsel Anda|Sedang masuk…|Berhasil masuk|Ditolak di ponsel Anda|Kode kedaluwarsa|Gagal masuk|Sebentar…|Tidak ada koneksi…|Kode baru',
  fr: 'Scannez avec votre téléphone|Confirmez sur votre téléphone|Connexion en cours…|Connexion réussie|Refusé sur votre téléphone|Code expiré|Échec de la connexion|Un instant…|Hors ligne…|Nouveau code',
  ja: 'スマホで読み取ってください|スマホで承認してください|ログイン中…|ログインしました|スマホで拒否されました|コードの期限が切れました|ログインできませんでした|お待ちください…|接続がありません…|新しいコード',
  ru: 'Отсканируйте телефоном|Подтвердите на телефоне|Вход…|Вход выполнен|Отклонено на телефоне|Код истёк|Не удалось войти|Секунду…|Нет связи…|Новый код',
  de: 'Mit dem Telefon scannen|Auf dem Telefon bestätigen|Anmeldung läuft…|Angemeldet|Auf dem Telefon abgelehnt|Code abgelaufen|Anmeldung fehlgeschlagen|Einen Moment…|Keine Verbindung…|Neuer Code',
  ko: '휴대전화로 스캔하세요|휴대전화에서 확인하세요|로그인 중…|로그인됨|휴대전화에서 거부됨|코드 만료됨|로그인 실패|잠시만 기다려 주세요…|연결 끊김…|새 코드',
  hi: 'फ़ोन से स्कैन करें|फ़ोन पर पुष्टि करें|साइन इन हो रहा है…|साइन इन हो गया|फ़ोन पर अस्वीकार किया गया|कोड की समय-सीमा खत्म हो गई|साइन इन नहीं हुआ|इंतज़ार करें…|कनेक्शन नहीं है…|नया कोड'
};
