// A window that shows one address in KHTML until it is killed: the page reports for itself.
#include <QApplication>
#include <QUrl>
#include <khtml_part.h>
#include <khtmlview.h>

int main(int count, char **words) {
  QApplication app(count, words);
  QCoreApplication::setQuitLockEnabled(false); // KIO's jobs come and go, the window stays
  KHTMLPart part;
  part.setJScriptEnabled(true);
  part.setJavaEnabled(false);
  part.setMetaRefreshEnabled(true);
  part.openUrl(QUrl(QString::fromLocal8Bit(words[1])));
  part.view()->resize(800, 600);
  part.view()->show();
  return app.exec();
}
