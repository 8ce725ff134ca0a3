# A window that shows one address in QtWebKit until it is killed: the page reports for itself.
import sys
from PyQt5.QtCore import QUrl, qVersion
from PyQt5.QtWebKit import qWebKitVersion
from PyQt5.QtWebKitWidgets import QWebView
from PyQt5.QtWidgets import QApplication

if sys.argv[1] == '--version':
    print('QtWebKit', qWebKitVersion(), 'Qt', qVersion())
else:
    app = QApplication(sys.argv)
    view = QWebView()
    view.load(QUrl(sys.argv[1]))
    view.show()
    app.exec_()
