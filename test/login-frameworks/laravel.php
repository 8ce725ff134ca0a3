<?php
// A Laravel application around the controller of the page, for `php -S`.
require 'Illuminate/autoload.php';
require 'GuzzleHttp/autoload.php';
require __DIR__ . '/ScanLogin.php';

class Csrf extends Illuminate\Foundation\Http\Middleware\VerifyCsrfToken
{
    protected $except = ['login/redeem'];
    protected function runningUnitTests() { return false; }
}
class Kernel extends Illuminate\Foundation\Http\Kernel
{
    protected $middlewareGroups = ['web' => [
        Illuminate\Cookie\Middleware\EncryptCookies::class,
        Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
        Illuminate\Session\Middleware\StartSession::class,
        Csrf::class,
        Illuminate\Routing\Middleware\SubstituteBindings::class,
    ]];
    protected $routeMiddleware = ['auth' => Illuminate\Auth\Middleware\Authenticate::class];
}
class Users implements Illuminate\Contracts\Auth\UserProvider
{
    public function retrieveById($id) { return new Illuminate\Auth\GenericUser(['id' => $id, 'password' => '', 'remember_token' => null]); }
    public function retrieveByToken($id, $token) { return null; }
    public function updateRememberToken(Illuminate\Contracts\Auth\Authenticatable $user, $token) {}
    public function retrieveByCredentials(array $credentials) { return null; }
    public function validateCredentials(Illuminate\Contracts\Auth\Authenticatable $user, array $credentials) { return false; }
}
class Site extends Illuminate\Support\ServiceProvider
{
    public function boot()
    {
        Illuminate\Support\Facades\Auth::provider('test', fn () => new Users());
        Illuminate\Support\Facades\Route::middleware('web')->group(function () {
            require __DIR__ . '/web.php';
            Illuminate\Support\Facades\Route::get('/test/in', fn () => Illuminate\Support\Facades\Auth::loginUsingId('ada') ? '' : 'no');
            Illuminate\Support\Facades\Route::get('/test/mark', function () { session(['mark' => 1]); return ''; });
        });
        Illuminate\Support\Facades\Route::get('/signin', fn () => 'sign in')->name('login');
    }
}

$config = [
    'app' => ['key' => 'base64:' . base64_encode(str_repeat('k', 32)), 'cipher' => 'AES-256-CBC', 'env' => 'production', 'debug' => true, 'timezone' => 'UTC', 'locale' => 'en', 'fallback_locale' => 'en', 'url' => getenv('SITE'),
        'providers' => array_map(fn ($name) => "Illuminate\\$name", [
            'Auth\AuthServiceProvider', 'Cookie\CookieServiceProvider', 'Encryption\EncryptionServiceProvider', 'Filesystem\FilesystemServiceProvider', 'Foundation\Providers\FoundationServiceProvider',
            'Hashing\HashServiceProvider', 'Session\SessionServiceProvider', 'View\ViewServiceProvider', 'Cache\CacheServiceProvider', 'Translation\TranslationServiceProvider',
        ])],
    'auth' => ['defaults' => ['guard' => 'web'], 'guards' => ['web' => ['driver' => 'session', 'provider' => 'users']], 'providers' => ['users' => ['driver' => 'test']]],
    'session' => ['driver' => 'file', 'lifetime' => 120, 'expire_on_close' => false, 'encrypt' => false, 'files' => __DIR__ . '/storage/framework/sessions', 'lottery' => [0, 100], 'cookie' => 'laravel_session', 'path' => '/', 'domain' => null, 'secure' => false, 'http_only' => true, 'same_site' => 'lax'],
    'view' => ['paths' => [__DIR__], 'compiled' => __DIR__ . '/storage/framework/views'],
    'cache' => ['default' => 'array', 'stores' => ['array' => ['driver' => 'array']]],
    'hashing' => ['driver' => 'bcrypt'],
    'logging' => ['default' => 'null', 'channels' => ['null' => ['driver' => 'errorlog']]],
    'services' => ['tagwait' => ['url' => getenv('TAGWAIT'), 'token' => getenv('TOKEN'), 'public' => getenv('SERVICE')]],
];
$config['app']['providers'][] = Site::class;
foreach (['config', 'bootstrap/cache', 'storage/framework/sessions', 'storage/framework/views', 'storage/logs'] as $folder) if (!is_dir(__DIR__ . "/$folder")) @mkdir(__DIR__ . "/$folder", 0777, true);
foreach ($config as $name => $values) if (!is_file(__DIR__ . "/config/$name.php")) file_put_contents(__DIR__ . "/config/$name.php", '<?php return ' . var_export($values, true) . ';');

$app = new Illuminate\Foundation\Application(__DIR__);
$app->singleton(Illuminate\Contracts\Http\Kernel::class, Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);
$kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
$response = $kernel->handle($request = Illuminate\Http\Request::capture())->send();
$kernel->terminate($request, $response);
